"""The connection to MLflow: quiet, quick to fail, and without its process-wide settings."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops_pipelines.environment import shown_uri
from mlops_pipelines.errors import NotFoundError, TrackingError
from mlops_pipelines.train.quietly import quietly

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""MLflow's own environment variables; one that is set already is left as it is."""

_CONNECT_SECONDS = 5


def connect(uri: str) -> MlflowClient:
    """A client of the MLflow at `uri`; raises TrackingError within seconds where it is down."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    with told(uri, "connecting"):
        if uri.startswith("http"):
            _probe_server(uri)
        elif "://" in uri and not uri.startswith("file:"):
            _probe_database(uri)
        with quietly():
            from mlflow import MlflowClient
        for name in ("mlflow.store", "mlflow.system_metrics", "mlflow.sklearn", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with quietly():
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
    return client


@contextmanager
def told(uri: str, doing: str) -> Iterator[None]:
    """Turn what MLflow, its database or its artifact store raises into one clear line."""
    import requests
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (requests.RequestException, SQLAlchemyError, OSError) as error:
        raise TrackingError(_line(uri, doing, error)) from _shown(uri, error)
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "mlflow":
            raise
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            line = f"MLflow at {shown_uri(uri)}, {doing}: {_first(uri, error)}"
            raise NotFoundError(line) from _shown(uri, error)
        raise TrackingError(_line(uri, doing, error)) from _shown(uri, error)


def _shown(uri: str, error: Exception) -> Exception | None:
    """`error`, or None where it may quote the user and the password of `uri`."""
    return None if _user(uri) else error


def _user(uri: str) -> str:
    """`user:password` of `uri`, empty where there is none."""
    return uri.partition("://")[2].partition("?")[0].rpartition("@")[0]


def _line(uri: str, doing: str, error: Exception) -> str:
    text = str(error)
    if any(sign in text for sign in ("Max retries exceeded", "Connection refused", "timed out")):
        return (
            f"MLflow at {shown_uri(uri)} does not answer ({doing}); "
            "start it, or mend mlflow.tracking_uri in resources/"
        )
    reason = _first(uri, getattr(error, "orig", None) or error)
    return (
        f"MLflow at {shown_uri(uri)}, {doing}: {type(error).__name__}: {reason}; "
        "check mlflow.tracking_uri and mlflow.artifact_root in resources/"
    )


def _first(uri: str, error: object) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    user = _user(uri)
    return (line.replace(f"{user}@", "") if user else line)[:300]


def _probe_server(uri: str) -> None:
    # MLflow's own client would retry for minutes before it says that nobody listens.
    import requests

    requests.get(f"{uri.rstrip('/')}/health", timeout=_CONNECT_SECONDS)


def _probe_database(uri: str) -> None:
    from pathlib import Path

    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    arguments: dict[str, object] = {}
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    elif url.get_backend_name() == "postgresql":
        arguments["connect_timeout"] = _CONNECT_SECONDS
    engine = create_engine(url, connect_args=arguments)
    try:
        with engine.connect():
            pass
    finally:
        engine.dispose()
