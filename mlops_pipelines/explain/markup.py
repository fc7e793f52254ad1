"""HTML of the pages about a version: how they look, tables, and values as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 sans-serif;color:#1c2733;max-width:920px;margin:2rem auto;padding:0 1.25rem}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.05rem;margin:1.8rem 0 .4rem;
border-bottom:2px solid #1c2733;padding-bottom:.15rem}
p{margin:.3rem 0}.quiet{color:#5a6875}.status{display:inline-block;padding:.05rem .55rem;
border-radius:.7rem;border:1px solid;margin-right:.35rem;font-size:.85rem;white-space:nowrap}
.good{color:#1b6e3c}.bad{color:#b02a1d}.plain{color:#44525f}
table{border-collapse:collapse;width:100%;margin:.3rem 0}
th,td{text-align:left;vertical-align:top;padding:.22rem .9rem .22rem 0;
border-bottom:1px solid #d9dfe4}
th{font-weight:600;color:#44525f;white-space:nowrap}
table.facts th{width:9.5rem;font-weight:400}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.t{white-space:nowrap}th:last-child,td:last-child{padding-right:0}
code{font:.86em monospace;overflow-wrap:anywhere}
ul{margin:.2rem 0;padding-left:1.1rem}svg{display:block;max-width:100%;height:auto}
.wide{overflow-x:auto}
.many table{font-size:.78rem}.many th,.many td{padding-right:.4rem}
.columns{columns:3;column-gap:1.5rem;font-size:.9em}
@media print{body{font-size:10.5pt;margin:0;max-width:none;padding:0}
h2{break-after:avoid}.wide{overflow:visible}.wide th{white-space:normal}.many table{font-size:7.5pt}
tr,svg,li{break-inside:avoid}thead{display:table-header-group}
.status{border-color:currentColor}@page{margin:16mm}}
@media (max-width:600px){.columns{columns:1}th,td{padding-right:.5rem}}
"""


MANY = 7
"""Columns that a table of usual size has at most."""
LONG = 10
"""Letters of a column's name that stay on one line."""


def page(title: str, parts: Iterable[str], style: str = "", end: str = "") -> str:
    """A whole page of `parts`, which are HTML; `style` is more CSS, `end` stands at its end."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n{end}</body></html>\n"
    )


def facts(*listed: tuple[str, str]) -> str:
    """Names beside values, which are HTML; those without a value are left out."""
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in listed if value)
    return f"<table class=facts>{rows}</table>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table whose cells are HTML and whose head is text; `numbers` are columns of numbers."""
    right = set(numbers)

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if place in right else ''}>{cell}</{tag}>"
            for place, cell in enumerate(row)
        )

    top = cells("th", [_breakable(each) for each in head])
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _breakable(name: str) -> str:
    """Paper cannot be scrolled: a long name may be broken in two."""
    return escape(name).replace("_", "_<wbr>") if len(name) > LONG else escape(name)


def wide(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table that is scrolled by itself where the screen is narrow; set smaller if it is wide."""
    kind = "wide many" if len(head) > MANY else "wide"
    return f'<div class="{kind}">{table(head, rows, numbers)}</div>'


def state(kind: str, text: str) -> str:
    """A badge: good, bad or plain."""
    return f'<span class="status {kind}">{escape(text)}</span>'


def code(text: str) -> str:
    """A hash or a path; nothing where there is none."""
    return f"<code>{escape(text)}</code>" if text else ""


def pairs(values: dict[str, str]) -> str:
    """name=value, and so on."""
    return escape(", ".join(f"{name}={value}" for name, value in values.items()))


def time(text: str) -> str:
    """RFC 3339 as people read it, in UTC, to the minute."""
    return f"<span class=t>{escape(text[:16].replace('T', ' '))}</span>"


def number(value: float | None) -> str:
    """Four significant digits; nothing where it is not known."""
    return "" if value is None else f"{value:.4g}"


def count(value: float | None) -> str:
    """A whole number; nothing where it is not known."""
    return "" if value is None else f"{value:,.0f}"
