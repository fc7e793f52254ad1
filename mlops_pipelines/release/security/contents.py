"""What could do harm in a bundle: code that its model file would run, altered files, secrets.

Nothing of the bundle is executed.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_pipelines.errors import ReleaseError
from mlops_pipelines.release.security.report import Finding
from mlops_pipelines.serve.verify import SIGNATURE

PICKLED_NAMES = frozenset(
    (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".pyc")
)
OWN_TYPES = ("sklearn.", "numpy.", "scipy.", "builtins.")
"""Where trusted types may come from, besides the model's own files in the bundle."""

SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("private key", re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")),
    ("cloud access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("access token", re.compile(r"\b(?:gh[pousr]_\w{36}|xox[abprs]-[\w-]{10,}|glpat-[\w-]{20})")),
    ("URL with a password", re.compile(r"\b\w+://[^\s/:@'\"{}]+:[^\s/:@'\"{}]+@")),
    (
        "password or token",
        re.compile(
            r"""(?ix) \w*(?:password|passwd|secret|api_?key|access_?key|auth_?token)\w* ["']?
            \s*[=:]\s* ["'] (?![{$<]) [^"'\s]{8,} ["']"""
        ),
    ),
)
TEXTS = frozenset(
    (".py", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".txt", ".env", ".lock")
)
OWN_CODE = "code/mlops_pipelines/"
STANDARD_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml"))
"""Of operators that every ONNX runtime brings along."""


def read_about(bundle: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What the bundle in this folder says about itself, and the hashes of its files by name.

    Raises ReleaseError where it is no bundle.
    """
    try:
        said = json.loads((bundle / "bundle.json").read_bytes())
        files = json.loads((bundle / "manifest.json").read_bytes())["files"]
        said["trusted_types"], files.items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReleaseError(
            f"{bundle} is no bundle: bundle.json or manifest.json is missing or broken ({error}); "
            "build it again"
        ) from error
    return said, files


def harmful_contents(bundle: Path, params: Mapping[str, str]) -> Iterator[Finding]:
    """Findings on the files of a bundle, and on the parameters its version was trained with.

    Raises ReleaseError where the folder is no bundle.
    """
    said, files = read_about(bundle)
    yield from _altered(bundle, files)
    yield from _pickles(bundle)
    yield from _models(bundle, said["trusted_types"])
    yield from _secrets(bundle)
    yield from _secret_params(params)


def _altered(bundle: Path, files: Mapping[str, str]) -> Iterator[Finding]:
    remedy = "build the bundle again from its MLflow version, and find out who wrote to the store"
    present = {name for name, _ in _files(bundle)} - {"manifest.json", SIGNATURE}
    for name in sorted(present - set(files)):
        yield Finding("critical", "foreign file", f"{name} is not in manifest.json", remedy)
    for name, expected in sorted(files.items()):
        path = bundle / name
        if not path.is_file():
            yield Finding("critical", "altered file", f"{name} is missing", remedy)
        elif hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            yield Finding("critical", "altered file", f"{name} is not what was bundled", remedy)


def _pickles(bundle: Path) -> Iterator[Finding]:
    remedy = "loading a pickle runs whatever it says: save the model with skops instead"
    for name, path in _files(bundle):
        with path.open("rb") as stream:
            head = stream.read(16)
        if path.suffix.lower() in PICKLED_NAMES or _is_pickle(head):
            yield Finding("critical", "pickle", name, remedy)
        elif zipfile.is_zipfile(path):
            for member in _pickled_members(path):
                yield Finding("critical", "pickle", f"{member} in {name}", remedy)


def _pickled_members(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                head = stream.read(256)
            objects = head.startswith(b"\x93NUMPY") and re.search(rb"'descr':\s*'\|O'", head)
            if Path(member).suffix.lower() in PICKLED_NAMES or _is_pickle(head) or objects:
                yield member


def _is_pickle(head: bytes) -> bool:
    # Protocols 2 to 5 begin with PROTO; from 4 on a FRAME follows it.
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2:3] in b"\x95c}](X\x8c"


def _models(bundle: Path, trusted: list[str]) -> Iterator[Finding]:
    """What loading the model files would bring in."""
    skops, onnx = bundle / "model.skops", sorted(bundle.glob("*.onnx"))
    if skops.is_file():
        yield from _types(bundle, skops, trusted)
    elif not onnx:
        yield _unreadable("there is neither model.skops nor model.onnx")
    for file in onnx:
        yield from _onnx(file)


def _types(bundle: Path, model_file: Path, trusted: list[str]) -> Iterator[Finding]:
    from skops.io import get_untrusted_types

    try:
        found = set(get_untrusted_types(file=model_file))
    except Exception as error:  # noqa: BLE001 (skops raises what a broken file makes it raise)
        yield _unreadable(f"{model_file.name}: {type(error).__name__}")
        return
    for name in sorted(found - set(trusted)):
        yield Finding(
            "high",
            "untrusted type",
            f"{name} in {model_file.name}",
            "train the version again, so that the type is looked at and recorded",
        )
    for name in sorted(trusted):
        if not name.startswith(OWN_TYPES) and not _lies_in(bundle, name):
            yield Finding(
                "high",
                "foreign type",
                f"{name} is trusted, and is neither scikit-learn's nor this model's",
                "use a scikit-learn type, or one from a file beside the declaration",
            )


def _onnx(model_file: Path) -> Iterator[Finding]:
    """Operators that need a library beside the runtime, and files that it would read."""
    import onnx
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load_model(str(model_file), load_external_data=False)
    except Exception as error:  # noqa: BLE001 (protobuf raises what a broken file makes it raise)
        yield _unreadable(f"{model_file.name}: {type(error).__name__}")
        return
    own = {function.domain for function in model.functions}
    nodes = [*_nodes(model.graph), *(n for f in model.functions for n in _nodes(f))]
    used = {node.domain for node in nodes}
    for domain in sorted(used - STANDARD_DOMAINS - own):
        yield Finding(
            "high",
            "custom operator",
            f"operators of domain {domain} in {model_file.name}",
            "they run a library's own code: use a pipeline of standard ONNX operators",
        )
    tensors = [*_initializers(model.graph), *(t for node in nodes for t in _tensors(node))]
    outside = sum(uses_external_data(tensor) for tensor in tensors)
    if outside:
        yield Finding(
            "high",
            "external data",
            f"{outside} tensors of {model_file.name} lie in other files",
            "a path in a model file can name any file: save the model with its tensors inside",
        )


def _graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from _nodes(inner)


def _initializers(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in _nodes(graph):
        for inner in _graphs(node):
            yield from inner.initializer


def _tensors(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


def _unreadable(evidence: str) -> Finding:
    return Finding(
        "critical",
        "unreadable model file",
        evidence,
        "train the version again; its model file must be one that skops or ONNX wrote",
    )


def _lies_in(bundle: Path, name: str) -> bool:
    """Whether the module of `assets.<folder>.<module>.<type>` is in the bundle."""
    top, *path = name.split(".")
    return (
        top == "assets"
        and (bundle / "code" / "assets").joinpath(*path[:-1]).with_suffix(".py").is_file()
    )


def _secrets(bundle: Path) -> Iterator[Finding]:
    for name, path in _files(bundle):
        if path.suffix.lower() not in TEXTS or name.startswith(OWN_CODE) or name == "manifest.json":
            continue
        lines = path.read_text("utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            for kind in _secrets_in(line):
                yield _secret(kind, f"{name}:{number}")


def _secret_params(params: Mapping[str, str]) -> Iterator[Finding]:
    for name, value in params.items():
        for kind in _secrets_in(f'{name} = "{value}"'):
            yield _secret(kind, f"parameter {name}")


def _secrets_in(text: str) -> Iterator[str]:
    kind = next((kind for kind, pattern in SECRETS if pattern.search(text)), None)
    if kind:
        yield kind


def _secret(kind: str, where: str) -> Finding:
    remedy = "revoke it, and name it by {env: NAME} instead of writing it down"
    return Finding("high", "secret", f"{kind} at {where}", remedy)


def _files(bundle: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(bundle.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(bundle).as_posix(), path
