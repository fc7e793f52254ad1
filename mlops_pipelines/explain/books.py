"""What MLflow holds of a model's versions and nights, read in a few questions however many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from mlops_pipelines import record
from mlops_pipelines.environment import with_driver
from mlops_pipelines.errors import NotFoundError

VERDICTS = {tag: judged for judged, tag in record.VERDICTS.items()}
"""Tags of a night that hold the verdicts it reached, and what each is on."""


@dataclass(frozen=True)
class Entry:
    """One version as MLflow holds it.

    `tags` are those of its training run and, over them, of the version; `metrics` are the last
    values; `params` are empty where they were not asked for. `artifacts` is the run's address.
    """

    model: str
    version: int
    run_id: str
    created: datetime
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    aliases: tuple[str, ...]
    artifacts: str


@dataclass(frozen=True)
class Night:
    """One evaluation of a version on a day (UTC, YYYY-MM-DD), with what was measured.

    `verdicts` are `ok`, `alarm` or `insufficient_data` by what was judged; empty where the night
    was evaluated before they were written down.
    """

    day: str
    version: int
    run_id: str
    metrics: Mapping[str, float]
    verdicts: Mapping[str, str]


@dataclass(frozen=True)
class Tagged:
    """A version that carries a value, and the name of the tag that says so."""

    model: str
    version: int
    tag: str
    value: str


@dataclass(frozen=True)
class RunOf:
    """Whose MLflow run it is; `day` is None for a training."""

    model: str
    version: int | None
    day: str | None


class Books(Protocol):
    """MLflow. Every question is answered in a number of calls that no version or night adds to."""

    def version(self, model: str, version: int) -> Entry:
        """One version, with its parameters; raises NotFoundError."""

    def versions(self, model: str) -> Sequence[Entry]:
        """All versions, oldest first, without parameters; none where it was never trained."""

    def numbers(self, model: str) -> Mapping[int, tuple[str, ...]]:
        """Every version's number, and its aliases."""

    def nights(
        self, model: str, metrics: Iterable[str], version: int | None = None
    ) -> Sequence[Night]:
        """The nights of a version (of all), oldest first, with those of `metrics` they have."""

    def measured(
        self, runs: Sequence[str], metrics: Iterable[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """Those of `metrics` that each of these runs has."""

    def tagged(self, tags: Sequence[str], start: str) -> Sequence[Tagged]:
        """The versions of all models of which one of `tags` begins with `start`."""

    def run(self, run_id: str) -> RunOf | None:
        """Whose run it is, if it is one of ours."""

    def artifact(self, entry: Entry, name: str) -> bytes | None:
        """A file of a version's run; None where there is none."""


def open_books(tracking_uri: str) -> Books:
    """MLflow at `tracking_uri`; nothing is imported or opened before the first question.

    A database is asked itself: MLflow's own client takes seconds to import.
    """
    if tracking_uri.startswith(("sqlite:", "postgres")):
        from mlops_pipelines.explain.books_database import DatabaseBooks

        return DatabaseBooks(with_driver(tracking_uri))
    from mlops_pipelines.explain.books_server import ServerBooks

    return ServerBooks(tracking_uri)


def newest(books: Books, model: str) -> int:
    """The version that serves, else the newest; raises NotFoundError where there is none."""
    numbers = books.numbers(model)
    if not numbers:
        raise NotFoundError(f"{model} has no version yet; train it with: mlops train {model}")
    champions = [each for each, aliases in numbers.items() if record.CHAMPION in aliases]
    return champions[0] if champions else max(numbers)


def run_of(tags: Mapping[str, str]) -> RunOf | None:
    """What the tags of a run say of whose it is."""
    model, number = tags.get(record.MODEL), tags.get(record.VERSION, "")
    if not model:
        return None
    is_night = tags.get(record.KIND) == "evaluation"
    return RunOf(model, int(number) if number else None, tags[record.DAY] if is_night else None)


def local_file(address: str, name: str) -> Path | None:
    """The path of an artifact, or None where it is not on this machine's disk."""
    parsed = urlparse(address)
    if parsed.scheme not in ("", "file"):
        return None
    return Path(unquote(parsed.path)) / name
