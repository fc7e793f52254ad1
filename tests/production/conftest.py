"""A project in production as an operator has it: addresses and secrets in the environment alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlops_pipelines.release.targets.process import ProcessTarget
from tests.conftest import PROJECT_FILES, ROOT
from tests.production.services import (
    Databases,
    MlflowServer,
    Webhook,
    bucket,
    databases,
    free_port,
    webhook,
)

MODEL = "breast_cancer"
MLOPS = str(Path(sys.executable).parent / "mlops")


@dataclass
class Production:
    """The project `root` with its services; `secrets` are in `env`, and should be nowhere else."""

    root: Path
    home: Path
    env: dict[str, str]
    secrets: dict[str, str]
    databases: Databases
    mlflow: MlflowServer
    webhook: Webhook
    heard: list[str] = field(default_factory=list)

    @property
    def target(self) -> ProcessTarget:
        return ProcessTarget(self.home / "serving", "127.0.0.1", (1024, 1024))

    def start(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `command` to its end; an empty text in `env` unsets the variable."""
        wanted = {name: value for name, value in {**self.env, **env}.items() if value}
        done = subprocess.run(
            list(command), cwd=self.root, env=wanted, capture_output=True, text=True, check=False
        )
        self.heard.append(done.stdout + done.stderr)
        return done

    def mlops(self, *arguments: str) -> str:
        """What `mlops` says when all goes well."""
        done = self.start(MLOPS, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str, **env: str) -> str:
        """The one line of an `mlops` that fails."""
        done = self.start(MLOPS, *arguments, **env)
        assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        return line

    def together(self, *commands: tuple[str, ...]) -> list[str]:
        """What several `mlops` say that run at the same time."""
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda command: self.mlops(*command), commands))


@pytest.fixture(scope="session")
def production(
    postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Production]:
    """Everything is up, nothing is trained; all of it ends with the session."""
    base = tmp_path_factory.mktemp("production")
    with ExitStack() as stack:
        books = stack.enter_context(databases(postgres_server))
        server = MlflowServer(books.mlflow, base / "mlflow")
        stack.callback(server.stop)
        server.start()
        s3_port = stack.enter_context(bucket("models"))
        hook = stack.enter_context(webhook())
        secrets = {
            "PostgreSQL": books.password,
            "S3": "s3-secret-0f4b",
            "S3 key": "s3-key-77aa",
            "MLflow": "mlflow-secret-91c2",
            "alerts": "alert-secret-5d3e",
        }
        mine = ("MLOPS_", "DAGSTER_", "MLFLOW_", "AWS_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
        env |= {
            "MLOPS_ENV": "production",
            "MLOPS_PROJECT": str(base / "project"),
            "MLOPS_HOME": str(base / "home"),
            "MLFLOW_TRACKING_URI": server.url.replace("://", f"://me:{secrets['MLflow']}@"),
            "DAGSTER_POSTGRES_URL": books.dagster,
            "MLOPS_STORE": f"s3://models/prefix?endpoint_override=127.0.0.1:{s3_port}"
            "&scheme=http&region=us-east-1",
            "AWS_ACCESS_KEY_ID": secrets["S3 key"],
            "AWS_SECRET_ACCESS_KEY": secrets["S3"],
            "MLOPS_ALERT_URL": f"json://me:{secrets['alerts']}@127.0.0.1:{hook.port}/hook",
        }
        found = Production(base / "project", base / "home", env, secrets, books, server, hook)
        _copy_project(found.root)
        stack.callback(found.target.stop, MODEL)
        server.wait()
        yield found


def _copy_project(root: Path) -> None:
    shutil.copytree(
        ROOT / "assets" / MODEL,
        root / "assets" / MODEL,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, root / name)
    (root / "resources").mkdir()
    settings = (ROOT / "resources" / "production.yaml").read_text()
    port = free_port()
    assert "[8100, 8199]" in settings
    (root / "resources" / "production.yaml").write_text(
        settings.replace("[8100, 8199]", f"[{port}, {port + 9}]")
    )
