"""Bundles run as worker processes of this machine, behind one stable port per model.

There is no supervisor. What runs is found again from the control sockets of the living workers;
the only file, `service.json`, says how many are wanted and on which port. Traffic moves by one
command, which the new worker carries through even if whoever sent it is killed.
"""

from __future__ import annotations

import json
import logging
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

from mlops_pipelines.errors import TargetError
from mlops_pipelines.logs import step
from mlops_pipelines.release.targets import processes
from mlops_pipelines.release.targets.held import held
from mlops_pipelines.release.targets.listener import bind, bind_first_free
from mlops_pipelines.release.targets.places import Places, Wanted
from mlops_pipelines.release.targets.scrape import Sample, samples
from mlops_pipelines.release.targets.target import Replica, Service, Usage
from mlops_pipelines.release.targets.worker import await_ready, request, start_worker, tail
from mlops_pipelines.serve.control import (
    ControlError,
    WorkerInfo,
    ask,
    receive_listener,
    workers,
)

TAKE_OVER_SECONDS = 30.0
SILENT_SECONDS = 5.0
EVERYWHERE = "0.0.0.0"  # noqa: S104 (compared with, not bound)

logger = logging.getLogger(__name__)


class ProcessTarget:
    """The workers of all models whose state lies under `home`; `ports` are first and last."""

    kind: Literal["process"] = "process"

    def __init__(self, home: Path, host: str, ports: tuple[int, int]) -> None:
        self._places = Places(home.absolute())
        self._host = host
        self._ports = ports

    def lock(self, model: str, who: str) -> AbstractContextManager[None]:
        """Held by one release of the model at a time; raises BusyError naming who holds it."""
        return held(self._places.lock(model), model, who)

    def state_dir(self, model: str) -> Path:
        """The folder for what must be remembered of the model's rollouts."""
        return self._places.home / model

    def log_dir(self, model: str) -> Path:
        """Where the workers write the prediction log."""
        return self._places.log_dir(model)

    def service(self, model: str) -> Service | None:
        """What runs now; None where nothing does and nothing is wanted. Raises no error."""
        found = self._described(model)
        return found if found.replicas or found.wanted else None

    def switch(self, model: str, bundle: Path, replicas: int, port: int | None = None) -> Service:
        """Give all traffic of `model` to `replicas` workers of `bundle`.

        They are started beside the old ones and must answer their golden rows; only then traffic
        moves, without a dropped request. Asked again, nothing happens. Raises TargetError, and
        then the old ones serve on, and BusyError.
        """
        manifest = json.loads((bundle / "manifest.json").read_bytes())
        with self.lock(model, "switch"):
            self.tidy(model)
            old = self._serving(model)
            wanted = self._places.wanted(model)
            moved = port is not None and port != wanted.port
            if old and not moved and all(info.bundle == manifest["digest"] for info in old):
                return self.scale(model, replicas)
            with self._listener(model, port, [] if moved else old) as listener:
                new_port = listener.getsockname()[1]
                with self._started(model, bundle, replicas, listener) as new:
                    self._places.want(model, Wanted(new_port, replicas))
                    with step(logger, "take_over", model=model):
                        self._take_over(model, new, old)
            return self._running(model)

    def scale(self, model: str, replicas: int) -> Service:
        """Want `replicas` workers of `model`, and let as many serve of what serves now.

        Where none lives, nobody here knows of which version: `rollout.reconcile` starts them.
        Raises TargetError, BusyError.
        """
        with self.lock(model, "scale"):
            self.tidy(model)
            serving = self._serving(model)
            self._places.want(model, Wanted(self._places.wanted(model).port, replicas))
            missing = replicas - len(serving)
            if serving and missing > 0:
                bundle = processes.bundle_folder(serving[0].pid)
                with (
                    receive_listener(serving[0].ctl) as listener,
                    self._started(model, bundle, missing, listener) as new,
                ):
                    for info in new:
                        ask(info.ctl, {"do": "serve"})
            for info in serving[replicas:]:
                _tell(info, "drain")
            return self._described(model)

    def stop(self, model: str) -> None:
        """End every worker of `model`, once it has answered what is in flight."""
        with self.lock(model, "stop"):
            self._places.want(model, Wanted(self._places.wanted(model).port, 0))
            pids = processes.of_control_dir(self._places.control_dir(model))
            processes.end(pids, processes.DRAIN_SECONDS)

    def tidy(self, model: str) -> tuple[str, ...]:
        """Undo what a killed run left behind; says what, one sentence each.

        Workers that never took traffic are ended, as are those that hang; where two versions
        serve, the one started later keeps the traffic.
        """
        with self.lock(model, "tidy"):
            found = [self._asked_again(info) for info in self._workers(model)]
            serving = [info for info in found if info.state == "serving"]
            hung = [info.pid for info in found if info.state == "silent"]
            known = {info.pid for info in found}
            pids = processes.of_control_dir(self._places.control_dir(model))
            # Without a socket: one that has just begun, or one that is about to end by itself.
            unknown = processes.staying([pid for pid in pids if pid not in known])
            left = [info.pid for info in found if info.state == "waiting"] + unknown
            done = []
            if hung:
                processes.end(hung, seconds=1)
                done.append(f"ended {len(hung)} workers that did not answer")
            if left:
                processes.end(left)
                done.append(f"ended {len(left)} workers that an interrupted run had left")
            old = [info for info in serving if info.bundle != serving[-1].bundle]
            for info in old:
                _tell(info, "drain")
            if old:
                versions = ", ".join(sorted({str(info.version) for info in old}))
                done.append(
                    f"version {versions} still served beside version {serving[-1].version}; "
                    "it left the traffic"
                )
            return tuple(done)

    def metrics(self, model: str) -> dict[str, tuple[Sample, ...]]:
        """What each living worker counts, by process id; one that does not answer is left out."""
        found = {}
        for info in self._workers(model):
            try:
                status, page = request(info.http, "GET", "/metrics", seconds=5)
            except OSError:
                continue
            if status == 200:
                found[str(info.pid)] = samples(page.decode())
        return found

    def usage(self, model: str) -> tuple[Usage, ...]:
        """What each living worker uses; a process has no network of its own to count."""
        found = (processes.usage(info.pid, info.version) for info in self._workers(model))
        return tuple(usage for usage in found if usage is not None)

    def _workers(self, model: str) -> list[WorkerInfo]:
        return workers(self._places.control_dir(model))

    def _serving(self, model: str) -> list[WorkerInfo]:
        return [info for info in self._workers(model) if info.state == "serving"]

    def _described(self, model: str) -> Service:
        wanted = self._places.wanted(model)
        serving = self._serving(model)
        newest = serving[-1] if serving else None
        return Service(
            model=model,
            address=self._address(wanted.port),
            version=newest.version if newest else None,
            bundle=newest.bundle if newest else "",
            replicas=tuple(Replica(str(i.pid), i.version, i.bundle) for i in serving),
            wanted=wanted.replicas,
            shares={newest.version: 100} if newest else {},
        )

    def _asked_again(self, info: WorkerInfo) -> WorkerInfo:
        """A worker that was silent, given more time: it may be busy with one long answer."""
        if info.state == "silent":
            again = workers(info.ctl.parent, SILENT_SECONDS)
            return next((found for found in again if found.pid == info.pid), info)
        return info

    def _running(self, model: str) -> Service:
        service = self._described(model)
        if not service.replicas:
            end = tail(self._places.worker_log(model))
            raise TargetError(f"{model}: its new workers have just ended; {end}")
        return service

    def _address(self, port: int | None) -> str:
        host = {EVERYWHERE: "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)
        return f"http://{host}:{port}" if port is not None else ""

    @contextmanager
    def _listener(
        self, model: str, port: int | None, serving: Sequence[WorkerInfo]
    ) -> Iterator[socket.socket]:
        """The listening socket: of a worker that serves, or bound anew."""
        for info in serving:
            try:
                listener = receive_listener(info.ctl)
                break
            except (ControlError, OSError):
                continue
        else:
            port = port or self._places.wanted(model).port
            if port is not None:
                listener = bind(self._host, port, model)
            else:
                taken = self._places.ports_of_others(model)
                listener = bind_first_free(self._host, self._ports, taken, model)
        with listener:
            yield listener

    @contextmanager
    def _started(
        self, model: str, bundle: Path, replicas: int, listener: socket.socket
    ) -> Iterator[list[WorkerInfo]]:
        """`replicas` new workers that are ready and wait; if the body fails, they are ended."""
        control_dir, log_dir, worker_log = self._places.prepare(model)
        new: list[subprocess.Popen[bytes]] = []
        try:
            with step(logger, "start_workers", model=model, replicas=replicas):
                for _ in range(replicas):
                    new.append(start_worker(bundle, log_dir, control_dir, worker_log, listener))
            with step(logger, "workers_ready", model=model, replicas=replicas):
                ready = await_ready(new, control_dir, worker_log)
            yield ready
        except BaseException as error:
            processes.end([process.pid for process in new])
            if isinstance(error, TargetError | OSError | ControlError):
                raise TargetError(f"{model}: {error}; traffic did not move") from error
            raise

    def _take_over(self, model: str, new: Sequence[WorkerInfo], old: Sequence[WorkerInfo]) -> None:
        command = {
            "do": "take_over",
            "peers": [str(info.ctl) for info in new[1:]],
            "retire": [str(info.ctl) for info in old],
        }
        ask(new[0].ctl, command, TAKE_OVER_SECONDS)
        # A worker that hangs is told by signal, and must not be found serving afterwards.
        gone = {info.pid for info in old}
        still = [info.pid for info in self._serving(model) if info.pid in gone]
        if still:
            processes.end(still)


def _tell(info: WorkerInfo, what: str) -> None:
    """Tell a worker to drain; one that is gone or refuses is ended, for the result is the same."""
    try:
        ask(info.ctl, {"do": what})
    except (ControlError, OSError):
        processes.end([info.pid])
