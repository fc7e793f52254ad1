"""The image that `mlflow models build-docker` makes of the same model, on the same base image.

MLflow writes the Dockerfile and the folder that it builds; only what this machine needs is changed
in it, and the same engine builds it.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, say
from benchmarks.environments import PeerError, environment
from benchmarks.release import pip_settings
from benchmarks.release.engine import Engine

REQUIREMENTS = ROOT / "benchmarks" / "serving" / "peers" / "mlflow.txt"
SAVE = Path(__file__).parent / "peers" / "save_model.py"
PORT = 8080
READY_SECONDS = 120.0
CHANGES = (
    "its FROM names the base image that ours stands on; pip in the build gets this machine's "
    "settings and certificates, and may install into Debian's Python"
)


@dataclass(frozen=True)
class Built:
    """An image, and the seconds that the engine built it in."""

    image: str
    seconds: float


class MlflowImages:
    """MLflow's images of one fitted model; `files` holds model.joblib and rows.npy."""

    def __init__(self, engine: Engine, files: Path) -> None:
        self._engine = engine
        self._files = files
        self._python = environment(REQUIREMENTS)
        self._count = 0

    def build(self, base: str) -> Built:
        """Save the model as a new version, and build its image on `base`; raises PeerError.

        Only the engine's build is timed.
        """
        import docker

        self._count += 1
        folder = self._files / f"mlflow-{self._count}"
        self._run(str(SAVE), str(self._files), str(folder / "model"))
        context = folder / "context"
        generate = ("-m", "mlflow", "models", "generate-dockerfile", "--model-uri")
        self._run(*generate, str(folder / "model"), "--output-directory", str(context))
        arguments = self._adapt(context, base)
        tag = f"mlops/bench-mlflow:{self._engine.run}-{self._count}"
        began = time.monotonic()
        try:
            image, _ = self._engine.client.images.build(
                path=str(context),
                tag=tag,
                buildargs=arguments,
                network_mode="host",
                rm=True,
                forcerm=True,
                timeout=1800,
            )
        except docker.errors.BuildError as error:
            said = [str(line.get("stream", "")).strip() for line in error.build_log]
            told = [line for line in said if line]
            raise PeerError(
                f"MLflow's build failed: {error.msg}: {' / '.join(told[-3:])}"
            ) from error
        except docker.errors.APIError as error:
            raise PeerError(f"MLflow's build failed: {error.explanation}") from error
        seconds = time.monotonic() - began
        say(f"MLflow's image: {seconds:.1f} s")
        return Built(str(image.id), seconds)

    def answers(self, built: Built, body: bytes) -> Any:
        """Start the image as MLflow says, and ask it; raises PeerError."""
        container = self._engine.client.containers.run(
            built.image, "serve", detach=True, ports={f"{PORT}/tcp": ("127.0.0.1", None)}
        )
        try:
            deadline, reason = time.monotonic() + READY_SECONDS, "no answer"
            while time.monotonic() < deadline:
                time.sleep(0.2)
                container.reload()
                published = container.ports.get(f"{PORT}/tcp") or ()
                if container.status == "exited" or not published:
                    break
                with suppress(OSError, http.client.HTTPException):
                    status, content = _post(int(published[0]["HostPort"]), body)
                    if status == 200:
                        return json.loads(content)
                    reason = f"{status} {content[:200]!r}"
            said = container.logs(tail=3).decode("utf-8", "replace").split("\n")
            raise PeerError(f"MLflow's image does not serve: {reason}; {' / '.join(said)}")
        finally:
            container.remove(force=True, v=True)

    def _adapt(self, context: Path, base: str) -> dict[str, str]:
        """Change the Dockerfile; the build's arguments."""
        arguments = {**pip_settings.variables(), "PIP_BREAK_SYSTEM_PACKAGES": "1"}
        more = [f"ARG {name}" for name in arguments]
        certificates = pip_settings.certificates()
        if certificates:
            shutil.copyfile(certificates, context / "host-certificates.pem")
            more = ["COPY host-certificates.pem /tmp/host-certificates.pem", *more]
            more.append("ARG PIP_CERT=/tmp/host-certificates.pem")
        dockerfile = context / "Dockerfile"
        lines = dockerfile.read_text("utf-8").splitlines()
        place = next(i for i, line in enumerate(lines) if line.startswith("FROM "))
        lines[place : place + 1] = [f"FROM {base}", *more]
        dockerfile.write_text("\n".join(lines) + "\n", "utf-8")
        return arguments

    def _run(self, *arguments: str) -> None:
        env = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "PATH": f"{self._python.parent}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [self._python, *arguments], cwd=self._files, env=env, capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise PeerError(f"{arguments[-1]}: {last[:300]}")


def _post(port: int, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/invocations", body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
