"""One MLflow run that is being written: a training, or a night."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_pipelines.errors import MlopsError, TrackingError
from mlops_pipelines.train.quietly import quietly
from mlops_pipelines.train.tracking import told

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROCESS = "mlops.process"
"""Tag: host:pid:start of the process that writes a run; tells a killed run from a living one."""

_BATCH = 1000
"""The most metrics MLflow takes at once."""


class Run:
    """The MLflow run `run_id` of `model`; what is logged to it twice is kept as it was last said.

    Raises TrackingError where MLflow or its artifact store does not take it.
    """

    def __init__(
        self, client: MlflowClient, uri: str, model: str, run_id: str, experiment_id: str
    ) -> None:
        self.model = model
        self.run_id = run_id
        self.experiment_id = experiment_id
        self._client = client
        self._uri = uri

    def log(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        curves: Mapping[str, Sequence[float]] | None = None,
        model_id: str | None = None,
    ) -> None:
        """Metrics, parameters, tags, and curves of one value per step (from 0), in one call."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        points = [
            Metric(name, float(value), now, 0, model_id=model_id)
            for name, value in (metrics or {}).items()
        ]
        for name, values in (curves or {}).items():
            points += [Metric(name, float(value), now, step) for step, value in enumerate(values)]
        listed = [Param(name, str(value)[:6000]) for name, value in (params or {}).items()]
        tagged = [RunTag(name, str(value)[:8000]) for name, value in (tags or {}).items()]
        with told(self._uri, f"logging to run {self.run_id} of {self.model}"):
            self._client.log_batch(self.run_id, points[:_BATCH], listed[:100], tagged[:100])
            for start in range(_BATCH, len(points), _BATCH):
                self._client.log_batch(self.run_id, points[start : start + _BATCH])
            for start in range(100, len(listed), 100):
                self._client.log_batch(self.run_id, params=listed[start : start + 100])

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """`metrics`, each over its older value."""
        self.log(metrics)

    def log_artifact(self, path: Path, inside: str | None = None) -> None:
        """The file `path`, or every file below the folder `path`, in the folder `inside`."""
        with told(self._uri, f"writing artifacts of run {self.run_id} of {self.model}"):
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), inside)
            else:
                self._client.log_artifact(self.run_id, str(path), inside)

    def terminate(self, status: str) -> None:
        """Close the run: FINISHED, FAILED or KILLED."""
        with told(self._uri, f"finishing run {self.run_id} of {self.model}"):
            self._client.set_terminated(self.run_id, status)


@contextmanager
def finishing(run: Run) -> Iterator[Run]:
    """Close `run` whatever happens; its tag mlops.error says why it FAILED or was KILLED."""
    try:
        yield run
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        reason = str(error) if isinstance(error, MlopsError) else type(error).__name__
        try:
            run.log(tags={"mlops.error": reason})
            run.terminate(status)
        except TrackingError as second:
            error.add_note(f"and its MLflow run was left open: {second}")
        raise
    run.terminate("FINISHED")


@contextmanager
def sampling(uri: str, run_id: str) -> Iterator[None]:
    """Let MLflow sample CPU, memory, disk and network of the machine, once a second."""
    with quietly():
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
        run_id, sampling_interval=1, tracking_uri=uri
    )
    monitor.start()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        monitor.finish()  # type: ignore[no-untyped-call]


def this_process() -> str:
    """What PROCESS says of this process."""
    import psutil

    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def was_killed(process: str) -> bool:
    """Whether the `process` of a run ran on this machine and is gone."""
    import psutil

    host, pid, started = [*process.rsplit(":", 2), "", ""][:3]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" != started
    except psutil.NoSuchProcess:
        return True
