"""Where everything behind a version is read from: MLflow, Dagster's event log, the store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mlops_pipelines import record
from mlops_pipelines.errors import NotFoundError, StoreError
from mlops_pipelines.explain.books import Books, Entry, open_books
from mlops_pipelines.explain.changes import Behind
from mlops_pipelines.explain.event_log import EventLog
from mlops_pipelines.project import Project
from mlops_pipelines.store import Store
from mlops_pipelines.train.environment_record import ENVIRONMENT


@dataclass(frozen=True)
class Sources:
    """The three books of a project; nothing is opened before it is asked."""

    books: Books
    events: EventLog
    store: Store

    @classmethod
    def of(cls, project: Project) -> Sources:
        """Those of the project's environment."""
        return cls(open_books(project.tracking_uri), EventLog.of(project), project.store)


def read_behind(sources: Sources, entry: Entry) -> Behind:
    """A version with its snapshot's description and its environment, where they were kept."""
    digest = entry.tags.get(record.SNAPSHOT, "")
    try:
        snapshot = sources.store.read_json(f"snapshots/{entry.model}/{digest}/snapshot.json")
    except (NotFoundError, StoreError):
        # MLflow has a copy.
        snapshot = document(sources.books, entry, "snapshot.json")
    environment = document(sources.books, entry, ENVIRONMENT)
    return Behind(entry, snapshot or {}, environment or {})


def document(books: Books, entry: Entry, name: str) -> Any:
    """A JSON file of a version's run; None where there is none that can be read."""
    content = books.artifact(entry, name)
    if content is None:
        return None
    try:
        return json.loads(content)
    except ValueError:
        # That it was altered is for `--verify` to say.
        return None
