"""From a digest, a hash, a run or a prediction to the version behind it."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError
from mlops_pipelines.explain.books import Books
from mlops_pipelines.explain.event_log import Made
from mlops_pipelines.explain.logged_days import days_that_may_hold
from mlops_pipelines.explain.sources import Sources
from mlops_pipelines.serve.times import written
from mlops_pipelines.store import Store
from mlops_pipelines.train.facts import RECORD

HASH_DIGITS = 12
RUN_DIGITS = 8
MOST_SHOWN = 4
SHA = "sha256:"

KINDS = {
    record.IMAGE: "image",
    record.BUNDLE: "bundle",
    record.SNAPSHOT: "snapshot",
    RECORD: "record",
    record.BOM: "bill of materials",
    record.LOCK_HASH: "lock file",
    record.GIT_COMMIT: "commit",
}


@dataclass(frozen=True)
class Found:
    """A thing and the version that it belongs to; `value` is its whole name.

    `version` is None where it is of a model and of no version. `says` tells more in a few words.
    """

    kind: str
    value: str
    model: str
    version: int | None
    says: str = ""


def find(sources: Sources, log_dirs: Mapping[str, Path], what: str) -> list[Found]:
    """The versions behind `what`: a digest or hash (or its first 12 digits), a run, a prediction.

    Several where several versions share the thing, such as a snapshot. `log_dirs` are the
    servers' logs by model. Raises NotFoundError where there is nothing, and where `what` begins
    the names of several things.
    """
    what = what.strip()
    digits = what.lower().removeprefix(SHA)
    found: list[Found] = []
    if re.fullmatch(rf"[0-9a-f]{{{HASH_DIGITS},64}}", digits):
        found += _tagged(sources.books, digits)
    if re.fullmatch(rf"[0-9a-f][0-9a-f-]{{{RUN_DIGITS - 1},35}}", what.lower()):
        found += _dagster_runs(sources, what.lower())
        if len(what) == 32:
            found += _mlflow_run(sources.books, what.lower())
    if not found:
        found = [
            prediction
            for model, log_dir in sorted(log_dirs.items())
            for prediction in _predictions(sources.store, log_dir, model, what)
        ]
    if not found:
        raise NotFoundError(_nothing(what, digits))
    things = dict.fromkeys((each.kind, each.value) for each in found)
    if len(things) > 1:
        named = [f"{kind} {value}" for kind, value in things]
        more = f", and {len(named) - MOST_SHOWN} more" if len(named) > MOST_SHOWN else ""
        raise NotFoundError(
            f"{what!r} begins the names of {len(named)} things: {', '.join(named[:MOST_SHOWN])}"
            f"{more}; give more of it"
        )
    return found


def _nothing(what: str, digits: str) -> str:
    if re.fullmatch(r"[0-9a-f]+", digits) and len(digits) < HASH_DIGITS:
        return (
            f"nothing is called {what!r}; of a hash give {HASH_DIGITS} digits or more, of a "
            f"Dagster run {RUN_DIGITS}"
        )
    return (
        f"nothing is called {what!r}: no version has such an image, bundle, snapshot or commit, "
        "no run in MLflow or Dagster and no prediction is called so"
    )


def _tagged(books: Books, digits: str) -> list[Found]:
    found = [*books.tagged(list(KINDS), digits), *books.tagged([record.IMAGE], f"{SHA}{digits}")]
    return [
        Found(KINDS[each.tag], each.value, each.model, each.version)
        for each in sorted(found, key=lambda each: (each.model, each.version))
    ]


def _dagster_runs(sources: Sources, start: str) -> Iterator[Found]:
    runs = sources.events.made_by(start)
    for run_id, made in runs.items():
        named = dict.fromkeys((each.model, _version(each)) for each in made)
        known = [(model, number) for model, number in named if number is not None]
        for model, number in known or named:
            yield Found("Dagster run", run_id, model, number, _what(made))
    # Its events may have been pruned; MLflow remembers who trained a version.
    for each in sources.books.tagged([record.DAGSTER_RUN], start):
        if each.value not in runs:
            yield Found("Dagster run", each.value, each.model, each.version, "training")


def _version(made: Made) -> int | None:
    """A release names the version by its partition, a training or a night in what it says."""
    said = made.metadata.get("version")
    return said if isinstance(said, int) and said > 0 else None


def _what(made: Sequence[Made]) -> str:
    days = sorted({each.partition for each in made if each.partition and "-" in each.partition})
    assets = ", ".join(dict.fromkeys(each.asset for each in made))
    return f"{', '.join(days)}: {assets}" if days else assets


def _mlflow_run(books: Books, run_id: str) -> Iterator[Found]:
    run = books.run(run_id)
    if run is not None:
        says = f"night {run.day}" if run.day else "training"
        yield Found("MLflow run", run_id, run.model, run.version, says)


def _predictions(store: Store, log_dir: Path, model: str, name: str) -> list[Found]:
    found = [*_in_log(log_dir, name), *_in_days(store, log_dir, model, name)]
    # A row is in its day before it leaves the log.
    return [
        Found("prediction", name, model, version, f"answered {at}")
        for version, at in dict.fromkeys(found)
    ]


def _in_log(log_dir: Path, name: str) -> Iterator[tuple[int, str]]:
    """Version and time of the rows of this id that were not moved to Parquet yet."""
    import orjson

    needle = orjson.dumps(name)
    for path in sorted(log_dir.glob("*.ndjson")):
        try:
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as log,
            ):
                header = orjson.loads(log[: log.find(b"\n")])
                at = log.find(needle) if header.get("kind") == "predictions" else -1
                while at >= 0:
                    end = log.find(b"\n", at)
                    if end < 0:
                        break
                    about = _about(log[log.rfind(b"\n", 0, at) + 1 : end], name)
                    if about is not None:
                        yield header["model_version"], about
                        break
                    at = log.find(needle, end)
        except (FileNotFoundError, ValueError):
            # It was moved out of the log meanwhile, or is empty.
            continue


def _about(line: bytes, name: str) -> str | None:
    """The time that a line of the log is about, where it has the row of this id."""
    import orjson

    try:
        row = orjson.loads(line)
        if isinstance(row, dict):
            return str(row["predicted_at"]) if name in row["ids"] else None
        return str(row[3]) if row[0] == name else None
    except (LookupError, TypeError, ValueError):
        return None


def _in_days(store: Store, log_dir: Path, model: str, name: str) -> Iterator[tuple[int, str]]:
    """Version and time of the rows of this id, of the days whose index may have it."""
    for key in days_that_may_hold(store, log_dir, model, name):
        import pyarrow.compute as pc

        from mlops_pipelines.monitor.tables import read_table

        rows = read_table(store, key, ["prediction_id", "model_version", "predicted_at"])
        for row in rows.filter(pc.equal(rows["prediction_id"], name)).to_pylist():
            yield row["model_version"], written(row["predicted_at"])
