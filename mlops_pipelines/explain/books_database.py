"""MLflow's tables in SQLite or PostgreSQL, asked without MLflow.

Importing MLflow takes longer than all questions together. Only tables and columns are used that
MLflow has had since version 1; a test holds the answers beside those of MLflow's own client.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, TableClause, and_, column, func, select, table

from mlops_pipelines import record
from mlops_pipelines.environment import shown_uri
from mlops_pipelines.errors import NotFoundError, TrackingError
from mlops_pipelines.explain.books import (
    VERDICTS,
    Entry,
    Night,
    RunOf,
    Tagged,
    local_file,
    run_of,
)
from mlops_pipelines.explain.database import Ask, UnreadableError, asking


def _table(name: str, *columns: str) -> TableClause:
    return table(name, *(column(each) for each in columns))


_VERSIONS = _table("model_versions", "name", "version", "run_id", "creation_time", "current_stage")
_VERSION_TAGS = _table("model_version_tags", "name", "version", "key", "value")
_ALIASES = _table("registered_model_aliases", "name", "alias", "version")
_EXPERIMENTS = _table("experiments", "experiment_id", "name")
_RUNS = _table("runs", "run_uuid", "experiment_id", "lifecycle_stage", "artifact_uri")
_TAGS = _table("tags", "run_uuid", "key", "value")
_PARAMS = _table("params", "run_uuid", "key", "value")
_METRICS = _table("latest_metrics", "run_uuid", "key", "value", "is_nan")

_KEPT = _VERSIONS.c.current_stage != "Deleted_Internal"


class DatabaseBooks:
    """MLflow's database at a SQLAlchemy address. Raises TrackingError where it cannot be asked."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def version(self, model: str, version: int) -> Entry:
        """See Books."""
        found = self._entries(model, _VERSIONS.c.version == version, params=True)
        if not found:
            raise NotFoundError(
                f"{model} has no version {version}; `mlops history {model}` lists what there is"
            )
        return found[0]

    def versions(self, model: str) -> Sequence[Entry]:
        """See Books."""
        return self._entries(model, params=False)

    def numbers(self, model: str) -> Mapping[int, tuple[str, ...]]:
        """See Books."""
        with self._asking(model) as ask:
            found = ask(select(_VERSIONS.c.version).where(_VERSIONS.c.name == model, _KEPT))
            aliases = _aliases(ask, model)
        return {int(number): tuple(aliases[int(number)]) for (number,) in found}

    def nights(
        self, model: str, metrics: Iterable[str], version: int | None = None
    ) -> Sequence[Night]:
        """See Books."""
        mine = _nights_of(model, version)
        runs_of_mine = select(mine.subquery().c.run_uuid)
        with self._asking(model) as ask:
            runs = ask(mine)
            values = _by_first(ask(_metrics_of(runs_of_mine, metrics)))
            verdicts = _by_first(
                ask(_keyed(_TAGS, runs_of_mine).where(_TAGS.c.key.in_(list(VERDICTS))))
            )
        listed = [
            Night(
                day=day,
                version=int(number),
                run_id=run,
                metrics={name: _number(*value) for name, *value in values[run]},
                verdicts={VERDICTS[name]: value for name, value in verdicts[run]},
            )
            for run, day, number in runs
            if number.isdigit()
        ]
        return sorted(listed, key=lambda night: (night.day, night.version))

    def measured(
        self, runs: Sequence[str], metrics: Iterable[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """See Books."""
        with self._asking("the metrics of runs") as ask:
            values = _by_first(ask(_metrics_of(list(runs), metrics)))
        return {run: {name: _number(*value) for name, *value in values[run]} for run in runs}

    def tagged(self, tags: Sequence[str], start: str) -> Sequence[Tagged]:
        """See Books."""
        same = and_(
            _VERSIONS.c.name == _VERSION_TAGS.c.name, _VERSIONS.c.version == _VERSION_TAGS.c.version
        )
        query = (
            select(
                _VERSION_TAGS.c.name,
                _VERSION_TAGS.c.version,
                _VERSION_TAGS.c.key,
                _VERSION_TAGS.c.value,
            )
            .join_from(_VERSION_TAGS, _VERSIONS, same)
            .where(
                _VERSION_TAGS.c.key.in_(list(tags)),
                func.substr(_VERSION_TAGS.c.value, 1, len(start)) == start,
                _KEPT,
            )
        )
        with self._asking("the tags of all models") as ask:
            found = ask(query)
        return [Tagged(name, int(number), tag, value) for name, number, tag, value in found]

    def run(self, run_id: str) -> RunOf | None:
        """See Books."""
        with self._asking("a run") as ask:
            found = ask(select(_TAGS.c.key, _TAGS.c.value).where(_TAGS.c.run_uuid == run_id))
        return run_of(dict(tuple(row) for row in found))

    def artifact(self, entry: Entry, name: str) -> bytes | None:
        """See Books; what is not on this machine is fetched by MLflow."""
        path = local_file(entry.artifacts, name)
        if path is not None:
            return path.read_bytes() if path.is_file() else None
        from mlops_pipelines.explain.books_server import ServerBooks

        return ServerBooks(self._uri).artifact(entry, name)

    def _entries(self, model: str, *only: Any, params: bool) -> list[Entry]:
        mine = (_VERSIONS.c.name == model, _KEPT, *only)
        runs = select(_VERSIONS.c.run_id).where(*mine)
        with self._asking(model) as ask:
            versions = ask(
                select(_VERSIONS.c.version, _VERSIONS.c.run_id, _VERSIONS.c.creation_time).where(
                    *mine
                )
            )
            numbers = select(_VERSIONS.c.version).where(*mine)
            tags = _by_first(
                ask(
                    select(
                        _VERSION_TAGS.c.version, _VERSION_TAGS.c.key, _VERSION_TAGS.c.value
                    ).where(_VERSION_TAGS.c.name == model, _VERSION_TAGS.c.version.in_(numbers))
                )
            )
            run_tags = _by_first(ask(_keyed(_TAGS, runs)))
            metrics = _by_first(ask(_keyed(_METRICS, runs).add_columns(_METRICS.c.is_nan)))
            parameters = _by_first(ask(_keyed(_PARAMS, runs)) if params else ())
            places = _by_first(
                ask(
                    select(_RUNS.c.run_uuid, _RUNS.c.artifact_uri).where(_RUNS.c.run_uuid.in_(runs))
                )
            )
            aliases = _aliases(ask, model)
        return [
            Entry(
                model=model,
                version=int(number),
                run_id=str(run),
                created=datetime.fromtimestamp(created / 1000, UTC),
                tags={**dict(run_tags[run]), **dict(tags[number])},
                metrics={name: _number(*value) for name, *value in metrics[run]},
                params=dict(parameters[run]),
                aliases=tuple(aliases[int(number)]),
                artifacts=next((str(place) for (place,) in places[run]), ""),
            )
            for number, run, created in sorted(versions)
        ]

    @contextmanager
    def _asking(self, about: str) -> Iterator[Ask]:
        try:
            with asking(self._uri) as ask:
                yield ask
        except UnreadableError as error:
            raise TrackingError(
                f"MLflow at {shown_uri(self._uri)}, reading {about}: {error}; "
                "check mlflow.tracking_uri in resources/"
            ) from None


def _nights_of(model: str, version: int | None) -> Select[Any]:
    """Run, day and version of each night."""
    kind, day, number = (_TAGS.alias(name) for name in ("kind", "day", "number"))
    joined = _RUNS
    for tag, key in ((kind, record.KIND), (day, record.DAY), (number, record.VERSION)):
        joined = joined.join(tag, and_(tag.c.run_uuid == _RUNS.c.run_uuid, tag.c.key == key))  # type: ignore[assignment]
    experiment = select(_EXPERIMENTS.c.experiment_id).where(_EXPERIMENTS.c.name == model)
    query = (
        select(_RUNS.c.run_uuid, day.c.value.label("day"), number.c.value.label("number"))
        .select_from(joined)
        .where(
            kind.c.value == "evaluation",
            _RUNS.c.lifecycle_stage == "active",
            _RUNS.c.experiment_id.in_(experiment),
        )
    )
    return query if version is None else query.where(number.c.value == str(version))


def _metrics_of(runs: Select[Any] | list[str], names: Iterable[str]) -> Select[Any]:
    """Run, key, value and whether it is no number."""
    return select(_METRICS.c.run_uuid, _METRICS.c.key, _METRICS.c.value, _METRICS.c.is_nan).where(
        _METRICS.c.key.in_(sorted(set(names))), _METRICS.c.run_uuid.in_(runs)
    )


def _keyed(of: TableClause, runs: Select[Any]) -> Select[Any]:
    """Run, key and value of the rows of these runs."""
    return select(of.c.run_uuid, of.c.key, of.c.value).where(of.c.run_uuid.in_(runs))


def _aliases(ask: Ask, model: str) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    query = select(_ALIASES.c.alias, _ALIASES.c.version).where(_ALIASES.c.name == model)
    for alias, number in sorted(tuple(row) for row in ask(query)):
        found[int(number)].append(str(alias))
    return found


def _by_first(rows: Iterable[Any]) -> Mapping[Any, list[tuple[Any, ...]]]:
    """Rows by their first value, without it."""
    found: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    for first, *rest in rows:
        found[first].append(tuple(rest))
    return found


def _number(value: float, is_nan: Any) -> float:
    return float("nan") if is_nan else float(value)
