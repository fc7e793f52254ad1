"""Trains a version again, in a process of its own and with the code of the tree it is told of.

Run as a script by `explain.reproduce`. It imports `mlops_pipelines` from that tree, which may be
an older one, and so uses nothing but what training has had from its first release on. It reads the
job (JSON) from the path it is given, and writes JSON lines: progress, and the result at last.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_NOT_THE_ESTIMATORS = (
    "estimator",
    "balance",
    "cross_validation",
    "holdout_share",
    "split_seed",
    "features",
)


class NoDeclarationError(Exception):
    """It is not known what was declared of the model."""


def train_again(job: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], None]) -> None:
    """Do the job: train on its snapshot, and compare the answers to the holdout."""
    from mlops_pipelines.store import Store
    from mlops_pipelines.train.fit import fit
    from mlops_pipelines.train.snapshot import load_snapshot, read_rows

    root = Path(job["tree"])
    folder, spec = _declared(root, job)
    store = Store(job["store"])
    snapshot = load_snapshot(store, spec.name, job["snapshot"])
    rows = read_rows(store, snapshot)
    python, params, lost = _as_launched(spec, snapshot, root, folder, job["params"])
    fitted = fit(
        spec,
        snapshot,
        rows.train,
        rows.holdout,
        root,
        folder,
        python=python,
        params=params,
        on_progress=lambda name, share: tell({"progress": name, "share": share}),
    )
    metrics = {
        **fitted.metrics,
        **{f"train_{name}": value for name, value in fitted.train_metrics.items()},
        **{f"cv_{name}_mean": each[0] for name, each in fitted.cross_validation.items()},
        **{f"cv_{name}_std": each[1] for name, each in fitted.cross_validation.items()},
        **{name: values[-1] for name, values in fitted.curves.items() if values},
    }
    tell(
        {
            "rows": len(rows.holdout),
            **_compared(fitted, job, snapshot, rows.holdout),
            "golden": _golden(fitted, job),
            "params": {name: str(value)[:6000] for name, value in fitted.params.items()},
            "metrics": {name: float(value) for name, value in metrics.items()},
            "lost": lost,
            "library": str(Path(inspect.getfile(fit)).parents[1]),
        }
    )


def _declared(root: Path, job: Mapping[str, Any]) -> tuple[Path, Any]:
    """The model's folder in the tree, holding the files that were kept of it, and its spec."""
    from mlops_pipelines.project import declaration_files, read_declarations

    folder = root / job["folder"]
    for file in declaration_files(root):
        if _declares(file, job["model"]):
            folder = file.parent
    folder.mkdir(parents=True, exist_ok=True)
    if job["declaration"]:
        kept = folder / ("defs.yml" if (folder / "defs.yml").exists() else "defs.yaml")
        kept.unlink(missing_ok=True)
        shutil.copyfile(job["declaration"], kept)
    for path in sorted(Path(job["code"]).glob("*.py")) if job["code"] else ():
        (folder / path.name).unlink(missing_ok=True)
        shutil.copyfile(path, folder / path.name)
    for file in declaration_files(root):
        if file.parent == folder:
            for declared in read_declarations(root, file):
                if declared.spec.name == job["model"]:
                    return folder, declared.spec
    raise NoDeclarationError(f"no declaration of {job['model']} is kept, nor in the tree")


def _declares(file: Path, model: str) -> bool:
    import yaml

    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return any(
        isinstance(each, dict)
        and isinstance(each.get("attributes"), dict)
        and each["attributes"].get("name") == model
        for each in documents
    )


def _as_launched(
    spec: Any, snapshot: Any, root: Path, folder: Path, recorded: Mapping[str, str]
) -> tuple[str | None, dict[str, Any] | None, list[str]]:
    """What the launch said instead of the declaration: estimator, params; and what is not known.

    A launch is not recorded beside the version, what it came to is: the estimator's parameters.
    """
    from mlops_pipelines.importing import load_attribute
    from mlops_pipelines.train.estimator import build_estimator, last_step

    path = recorded.get("estimator") or spec.estimator.python
    python = None if path == spec.estimator.python else path
    params: dict[str, Any] = dict(spec.estimator.params) if python is None else {}
    built = build_estimator(spec, snapshot.columns, root, folder, path, params)
    own = last_step(built).get_params(deep=False)
    # What weights classes is set when it is fitted, by estimator.balance.
    weights = ("class_weight",) if spec.estimator.balance == "weights" else ()
    differing = [
        name
        for name, value in own.items()
        if name in recorded
        and name not in (*weights, *_NOT_THE_ESTIMATORS)
        and str(value)[:6000] != recorded[name]
    ]
    if not differing:
        return python, None if python is None else params, []
    taken = inspect.signature(load_attribute(path, root, folder)).parameters
    lost = []
    for name in differing:
        try:
            value = ast.literal_eval(recorded[name])
        except (SyntaxError, ValueError):
            value = recorded[name]
        if name in taken and str(value) == recorded[name]:
            params[name] = value
        else:
            lost.append(name)
    return python, params, lost


def _compared(fitted: Any, job: Mapping[str, Any], snapshot: Any, holdout: Any) -> dict[str, Any]:
    """How many of the holdout's rows the recorded model answers otherwise, and by how much."""
    import numpy as np
    import skops.io

    from mlops_pipelines.train.answers import answer
    from mlops_pipelines.train.snapshot import features

    recorded = skops.io.load(job["model_file"], trusted=job["trusted"])
    before, now = answer(recorded, features(holdout, snapshot), snapshot), fitted.outputs
    differing = np.asarray(before.prediction != now.prediction)
    largest = 0.0
    for a, b in ((before.score, now.score), (before.probabilities, now.probabilities)):
        if (a is None) != (b is None):
            differing, largest = np.ones(len(differing), dtype=bool), float("inf")
        if a is None or b is None or not len(a):
            continue
        apart = a.view(np.uint64) != b.view(np.uint64) if _alike(a, b) else np.ones(len(a), bool)
        differing |= apart.reshape(len(a), -1).any(axis=1)
        largest = max(largest, float(np.abs(a - b).max()) if a.shape == b.shape else float("inf"))
    return {"differing": int(differing.sum()), "largest": largest}


def _alike(a: Any, b: Any) -> bool:
    return bool(a.shape == b.shape and a.dtype == b.dtype and a.itemsize == 8)


def _golden(fitted: Any, job: Mapping[str, Any]) -> bool:
    """Whether the answers that were written down when it was trained come out again."""
    kept = json.loads(Path(job["golden"]).read_text(encoding="utf-8"))
    now = json.loads(json.dumps(fitted.golden, default=lambda value: value.item()))
    return bool(kept == now)


def _said(error: Exception) -> str:
    """An error in one line; of those that may quote a row only their type, and where it was."""
    names = {each.__name__ for each in type(error).__mro__}
    if names & {"MlopsError", "ImportError", "AttributeError", "NoDeclarationError"}:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:600]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


if __name__ == "__main__":
    # What the model's own code prints must not end up between the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def _tell(value: Mapping[str, Any]) -> None:
        lines.write(json.dumps(value) + "\n")
        lines.flush()

    try:
        train_again(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), _tell)
    except Exception as error:  # noqa: BLE001  # whatever it was is told, and ends the process
        _tell({"error": _said(error)})
        sys.exit(1)
