"""The OpenAPI document as one page of HTML: nothing is fetched, and it needs no JavaScript."""

from __future__ import annotations

import base64
import hashlib
import shlex
from html import escape
from typing import Any

import orjson

Json = dict[str, Any]

METHODS = ("get", "post")
# Stands for the server's own address, which the script puts in its place.
ADDRESS = "http://localhost:8000"
SHOWN_LEVELS = 12
ONE_LINE = 72

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--ground:#fff;
--inset:#f4f6f8;--accent:#0a58ca;--good:#1a7f37}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4ae;--line:#30363d;
--ground:#0d1117;--inset:#161b22;--accent:#6cb0ff;--good:#56d364}}
*{box-sizing:border-box}
body{font:16px/1.5 sans-serif;color:var(--ink);background:var(--ground);max-width:1000px;
margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .2rem}
h2{font-size:1.25rem;margin:2.6rem 0 .6rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
h3{font-size:1.02rem;margin:1.8rem 0 .3rem;overflow-wrap:anywhere}
h4{font-size:.9rem;margin:.9rem 0 .25rem;color:var(--soft);font-weight:600}
p{margin:.3rem 0 .7rem}
.soft,small{color:var(--soft)}
a{color:var(--accent)}
nav{margin:.8rem 0 0}nav a{margin-right:.8rem;white-space:nowrap}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.95rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .9rem .3rem 0;
border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600}
table.facts{width:auto}table.facts th{white-space:nowrap}
td{overflow-wrap:anywhere}td.short{white-space:nowrap;overflow-wrap:normal}
code,pre{font:13px/1.45 ui-monospace,monospace}h3 code{font-size:1rem}
.method{display:inline-block;min-width:3.2rem;font-weight:700;color:var(--accent)}
.get .method{color:var(--good)}
.box{position:relative}
pre{background:var(--inset);border:1px solid var(--line);border-radius:6px;
padding:.6rem 4.6rem .6rem .8rem;
margin:.25rem 0 .6rem;white-space:pre-wrap;overflow-wrap:anywhere;max-height:22rem;overflow-y:auto}
.box button{position:absolute;top:.45rem;right:.6rem;font:12px sans-serif;padding:.15rem .5rem;
color:var(--ink);background:var(--ground);border:1px solid var(--line);border-radius:5px;
cursor:pointer}
details{margin:.3rem 0}summary{cursor:pointer;color:var(--accent)}
"""

SCRIPT = """
for (const each of document.querySelectorAll(".address")) each.textContent = location.origin;
for (const note of document.querySelectorAll(".plain")) note.remove();
for (const box of document.querySelectorAll(".box")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  const text = box.querySelector("pre").textContent;
  button.textContent = "Copy";
  button.onclick = async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  box.prepend(button);
}
"""


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_hash(STYLE)}'; script-src 'sha256-{_hash(SCRIPT)}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The header Content-Security-Policy of the page: its own style and script, and nothing else."""


def page(document: Json) -> str:
    """The document (as `openapi.openapi` gives it) as a page.

    Served with CONTENT_SECURITY_POLICY, it can neither load nor send anything.
    """
    model = document["x-model"]
    title = f"{model['name']}, version {model['version']}"
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                told = _operation(document, path, method, operation)
                groups.setdefault(operation["tags"][0], []).append(told)
    sections = {tag: "".join(operations) for tag, operations in groups.items()}
    sections = {
        "predictions": sections.pop("predictions"),
        "columns": _signature(model),
        **sections,
        "errors": _errors(document),
        "limits": _limits(document["x-limits"]),
    }
    parts = [f'<h2 id="{tag}">{TITLES[tag]}</h2>{told}' for tag, told in sections.items()]
    nav = " ".join(f'<a href="#{key}">{escape(text)}</a>' for key, text in TITLES.items())
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(model['name'])} <small>version {model['version']}</small></h1>"
        f'<p class="soft">{escape(document["info"]["description"])}</p>{_facts(model)}'
        f'<p class="plain soft">In the examples {ADDRESS} stands for this server’s address.</p>'
        f"<nav>{nav}</nav>{''.join(parts)}<script>{SCRIPT}</script></body></html>"
    )


TITLES = {
    "predictions": "Predictions",
    "columns": "Columns",
    "labels": "Labels",
    "about": "About the server",
    "v2": "Open Inference Protocol, version 2",
    "errors": "Errors",
    "limits": "Limits",
}


def _facts(model: Json) -> str:
    facts = {
        "Task": model["task"].replace("_", " "),
        "Predicts": model["target"],
        "Classes": ", ".join(map(_json, model["classes"] or ())),
        "Runtime": model["runtime"],
        "Bundle": model["bundle"],
    }
    rows = "".join(
        f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in facts.items() if text
    )
    return f'<table class="facts">{rows}</table>'


def _signature(model: Json) -> str:
    rows = "".join(
        f"<tr><td>{escape(column['name'])}</td>{_type(column)}"
        f"<td>{'yes' if column['nullable'] else 'no'}</td></tr>"
        for column in model["columns"]
    )
    return (
        '<div class="scroll"><table><tr><th>column</th><th>type</th>'
        f"<th>may be null</th></tr>{rows}</table></div>"
    )


def _type(column: Json) -> str:
    levels = column["levels"]
    if levels is None:
        return f'<td class="short">{column["type"]}</td>'
    shown = ", ".join(map(_json, levels[:SHOWN_LEVELS]))
    more = f" and {len(levels) - SHOWN_LEVELS} more" if len(levels) > SHOWN_LEVELS else ""
    return f"<td>{column['type']}, one of {escape(shown + more)}</td>"


def _operation(document: Json, path: str, method: str, operation: Json) -> str:
    model = document["x-model"]
    real = path.replace("{name}", model["name"]).replace("{version}", str(model["version"]))
    head = (
        f'<h3 class="{method}"><span class="method">{method.upper()}</span> '
        f"<code>{escape(path)}</code></h3><p>{escape(operation['summary'])}"
        + (" <small>(needs a bearer token)</small>" if "security" in operation else "")
        + "</p>"
    )
    if "{version}" in path:
        return head + '<p class="soft">As without the version.</p>'
    told, answer = head, _answer(operation)
    if method == "get":
        return told + _box(_command(real)) + answer
    shown = [
        (name, _curl(real, media, example["value"], "security" in operation))
        for media, content in operation["requestBody"]["content"].items()
        for name, example in content.get("examples", {}).items()
    ]
    name, first = shown[0]
    told += f"<h4>{escape(name)}</h4>" + _box(first) + answer
    for name, command in shown[1:]:
        told += f"<details><summary>{escape(name)}</summary>{_box(command)}</details>"
    return told


def _answer(operation: Json) -> str:
    content = operation["responses"]["200"]["content"].get("application/json", {})
    if "examples" not in content:
        return ""
    value = content["examples"]["answer"]["value"]
    return f"<h4>answer</h4><pre>{escape(_pretty(value), quote=False)}</pre>"


def _curl(path: str, media: str, value: Any, needs_token: bool) -> str:
    """The command as HTML."""
    text = value if isinstance(value, str) else _json(value)
    lines = [f"-H 'Content-Type: {media}'"]
    if needs_token:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    lines.append(f"--data-binary {shlex.quote(text)}")
    return _command(path, lines)


def _command(path: str, lines: list[str] | None = None) -> str:
    address = f'<span class="address">{ADDRESS}</span>'
    more = "".join(f" \\\n  {escape(line, quote=False)}" for line in lines or ())
    return f"curl {address}{escape(path)}{more}"


def _errors(document: Json) -> str:
    responses = document["components"]["responses"]
    statuses: dict[str, str] = {}
    for item in document["paths"].values():
        for method in METHODS:
            for status, response in item.get(method, {}).get("responses", {}).items():
                if "$ref" in response:
                    statuses[status] = response["$ref"].rsplit("/", 1)[1]
    rows = "".join(
        f"<tr><td>{status}</td><td>{escape(responses[name]['description'])}</td>"
        f"<td><code>{escape(_example(responses[name])['error'])}</code></td></tr>"
        for status, name in sorted(statuses.items())
    )
    schema = document["components"]["schemas"]["Error"]
    return (
        f"<p>{escape(schema['description'])}</p>"
        f"<pre>{escape(_pretty(_example(responses['BadRequest'])), quote=False)}</pre>"
        '<div class="scroll"><table><tr><th>status</th><th>when</th><th>for example</th></tr>'
        f"{rows}</table></div>"
    )


def _example(response: Json) -> Json:
    return response["content"]["application/json"]["examples"]["answer"]["value"]


def _limits(limits: Json) -> str:
    told = {
        "rows of one request": f"{limits['rows']:,}",
        "bytes of one request": f"{limits['body_bytes']:,}",
        "seconds for a request to arrive": f"{limits['request_seconds']:g}",
        "requests at one time": f"{limits['in_flight']:,}",
    }
    rows = "".join(f"<tr><th>{name}</th><td>{most}</td></tr>" for name, most in told.items())
    return f'<table class="facts">{rows}</table>'


def _box(html: str) -> str:
    return f'<div class="box"><pre>{html}</pre></div>'


def _json(value: Any) -> str:
    """On one line, with a space where a line may break."""
    return orjson.dumps(value).decode() if not isinstance(value, list | dict) else _spaced(value)


def _spaced(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(key)}: {_json(each)}" for key, each in value.items()) + "}"
    return "[" + ", ".join(map(_json, value)) + "]"


def _pretty(value: Any) -> str:
    """Each member on a line of its own, unless all fit on one."""
    short = _json(value)
    if not isinstance(value, dict) or len(short) <= ONE_LINE:
        return short
    lines = [f"  {_json(key)}: {_json(each)}" for key, each in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}"
