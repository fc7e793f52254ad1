"""What Dagster's event log holds of a model's versions, read without Dagster.

Importing Dagster takes longer than all questions together. Its events lie in SQLite or PostgreSQL
as JSON; a test holds what is read here beside what Dagster itself says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, column, select, table

from mlops_pipelines.environment import resolve, shown_uri, with_driver
from mlops_pipelines.errors import MlopsError
from mlops_pipelines.explain.database import Ask, UnreadableError, asking
from mlops_pipelines.project import Project

_EVENTS = table(
    "event_logs",
    *map(column, ("id", "run_id", "event", "dagster_event_type", "asset_key", "partition")),
)
_CHECKS = table(
    "asset_check_executions",
    *map(column, ("id", "asset_key", "check_name", "partition", "run_id", "evaluation_event")),
    column("execution_status"),
    column("evaluation_event_timestamp", DateTime),
)
_CHECKED = select(
    _CHECKS.c.asset_key, _CHECKS.c.check_name, _CHECKS.c.run_id, _CHECKS.c.evaluation_event
).where(_CHECKS.c.execution_status.in_(("SUCCEEDED", "FAILED")))

GATES = ("evaluation", "security_report", "image")
"""The assets of a version whose checks are its gates."""


@dataclass(frozen=True)
class Deployed:
    """One time that a version was put in front of the traffic."""

    version: int
    at: str
    action: str
    actor: str
    reason: str
    run_id: str


@dataclass(frozen=True)
class Check:
    """One time that a check of an asset was evaluated; `metadata` are its plain values."""

    asset: str
    name: str
    passed: bool
    blocking: bool
    says: str
    at: str
    run_id: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """An asset that a run materialized; `partition` is a version, a day, or None."""

    model: str
    asset: str
    partition: str | None
    metadata: Mapping[str, Any]


class EventLog:
    """Dagster's events at a SQLAlchemy address; a file that is not there yet has none.

    Raises MlopsError where it cannot be read.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    @classmethod
    def of(cls, project: Project) -> EventLog:
        """The event log of the project's environment."""
        postgres = project.environment.dagster.postgres_url
        if postgres is not None:
            return cls(with_driver(resolve(postgres)))
        return cls(f"sqlite:///{project.home / 'dagster' / 'history' / 'runs' / 'index.db'}")

    def deployments(self, model: str) -> tuple[Deployed, ...]:
        """Every deployment and rollback, oldest first."""
        query = select(_EVENTS.c.partition, _EVENTS.c.run_id, _EVENTS.c.event).where(
            _EVENTS.c.asset_key == _key(model, "deployment"),
            _EVENTS.c.dagster_event_type == "ASSET_MATERIALIZATION",
            _EVENTS.c.partition.is_not(None),
        )
        with self._asking() as ask:
            return tuple(
                _deployed(int(partition), run_id, json.loads(event))
                for partition, run_id, event in ask(query.order_by(_EVENTS.c.id))
            )

    def gates(self, model: str, version: int) -> tuple[Check, ...]:
        """How each gate of a version was decided last, in the order of the release."""
        query = _CHECKED.where(
            _CHECKS.c.asset_key.in_([_key(model, asset) for asset in GATES]),
            _CHECKS.c.partition == str(version),
        )
        with self._asking() as ask:
            found = [_check(*row) for row in ask(query.order_by(_CHECKS.c.id))]
        last = {(each.asset, each.name): each for each in found}
        return tuple(sorted(last.values(), key=lambda each: GATES.index(each.asset)))

    def expectations(self, model: str, before: datetime) -> Check | None:
        """How the training data was checked last before a moment."""
        query = _CHECKED.where(
            _CHECKS.c.asset_key == _key(model, "training_data"),
            _CHECKS.c.check_name == "expectations",
            _CHECKS.c.evaluation_event_timestamp <= before.astimezone(UTC).replace(tzinfo=None),
        )
        with self._asking() as ask:
            found = [_check(*row) for row in ask(query.order_by(_CHECKS.c.id.desc()).limit(1))]
        return found[0] if found else None

    def made_by(self, start: str) -> dict[str, list[Made]]:
        """What the runs whose id begins with `start` materialized, by run id."""
        query = select(_EVENTS.c.run_id, _EVENTS.c.event).where(
            # Run ids are hexadecimal: `g` sorts behind every one of them.
            _EVENTS.c.run_id >= start,
            _EVENTS.c.run_id < f"{start}g",
            _EVENTS.c.dagster_event_type == "ASSET_MATERIALIZATION",
        )
        found: dict[str, list[Made]] = {}
        with self._asking() as ask:
            for run_id, event in ask(query.order_by(_EVENTS.c.id)):
                said = _materialization(json.loads(event))
                path = said["asset_key"]["path"]
                if len(path) == 2:
                    made = Made(path[0], path[1], said.get("partition"), _entries(said))
                    found.setdefault(run_id, []).append(made)
        return found

    @contextmanager
    def _asking(self) -> Iterator[Ask]:
        try:
            with asking(self._uri) as ask:
                yield ask
        except (UnreadableError, ValueError, KeyError, TypeError) as error:
            raise MlopsError(
                f"Dagster's event log {shown_uri(self._uri)} cannot be read: {error}; "
                "start its database, or mend dagster.postgres_url in resources/"
            ) from None


def _key(model: str, asset: str) -> str:
    return json.dumps([model, asset])


def _deployed(version: int, run_id: str, event: Mapping[str, Any]) -> Deployed:
    said = _entries(_materialization(event))
    return Deployed(
        version=version,
        at=_at(event),
        action=str(said.get("action")),
        actor=str(said.get("actor")),
        reason=str(said.get("reason")),
        run_id=run_id,
    )


def _check(key: str, name: str, run_id: str, event: str) -> Check:
    said = json.loads(event)
    found = said["dagster_event"]["event_specific_data"]
    return Check(
        asset=json.loads(key)[-1],
        name=name,
        passed=bool(found["success"]),
        blocking=bool(found["blocking"]),
        says=found["description"] or "",
        at=_at(said),
        run_id=run_id,
        metadata={name: _plain(each) for name, each in found["metadata"].items()},
    )


def _materialization(event: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = event["dagster_event"]["event_specific_data"]["materialization"]
    return found


def _entries(said: Mapping[str, Any]) -> dict[str, Any]:
    return {each["label"]: _plain(each["entry_data"]) for each in said["metadata_entries"]}


def _plain(entry: Mapping[str, Any]) -> Any:
    """The one value of a metadata entry, whatever the field of its kind is called."""
    return next((value for name, value in entry.items() if name != "__class__"), None)


def _at(event: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(event["timestamp"], UTC).isoformat(timespec="seconds")
