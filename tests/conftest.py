"""What several rooms' tests want: a project of their own, a database, real data."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT_FILES = ("pyproject.toml", "workspace.yaml", "dagster.yaml", "requirements.lock")


LONGEST_FIRST = ("engine", "ui", "production", "loop", "release", "serve", "train")
TOGETHER = ("engine", "ui", "production")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no worker is left with it at the end."""
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(_room(item.nodeid), len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With several workers: a file, or a folder that shares services, stays in one of them.

    xdist's own groups by marker do nothing under pytest 9.2, which ignores the names it sets.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByRoom(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _room(nodeid) if _room(nodeid) in TOGETHER else nodeid.partition("::")[0]

    return ByRoom(config, log)


def _room(nodeid: str) -> str:
    return nodeid.partition("::")[0].split("/")[1]


def require(name: str, reason: str) -> NoReturn:
    """Skip the test, or fail it where MLOPS_REQUIRE (docker,postgres,browser) names `name`."""
    if name in os.environ.get("MLOPS_REQUIRE", "").replace(" ", "").split(","):
        pytest.fail(f"MLOPS_REQUIRE asks for {name}: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def project_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of the test's own, without a model; the environment points to it."""
    root = tmp_path / "project"
    (root / "assets").mkdir(parents=True)
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "resources", root / "resources")
    for name in [name for name in os.environ if name.startswith(("MLOPS_", "DAGSTER_"))]:
        if name not in ("MLOPS_REQUIRE", "MLOPS_REAL_DATA", "MLOPS_TEST_POSTGRES"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    monkeypatch.setenv("MLOPS_PROJECT", str(root))
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    # home.prepare_home sets it; touched here, so that it is unset again.
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv("DAGSTER_HOME")
    return root


@pytest.fixture
def project(project_root: Path) -> Path:
    """A copy of this project with its example models; the environment points to it."""
    shutil.copytree(
        ROOT / "assets",
        project_root / "assets",
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return project_root


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The address of a PostgreSQL that answers, in MLOPS_TEST_POSTGRES."""
    server = os.environ.get("MLOPS_TEST_POSTGRES")
    if not server:
        require("postgres", "MLOPS_TEST_POSTGRES names no PostgreSQL server")
    import sqlalchemy as sa

    # The driver that is installed; SQLAlchemy 2.1 takes another where none is named.
    address = sa.engine.make_url(server).set(drivername="postgresql+psycopg2")
    try:
        sa.create_engine(address, poolclass=sa.NullPool).connect().close()
    except sa.exc.OperationalError as error:
        require("postgres", f"PostgreSQL does not answer: {str(error.orig).splitlines()[0]}")
    return server


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A new database for one test: Dagster and MLflow each stamp the one they keep books in."""
    import sqlalchemy as sa

    name = f"mlops_test_{uuid.uuid4().hex[:12]}"
    server = sa.engine.make_url(postgres_server)
    address = server.set(drivername="postgresql+psycopg2")
    admin = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    url = server.set(drivername="postgresql", database=name)
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        require("browser", "there is no chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, which is no part of the project."""
    named = os.environ.get("MLOPS_REAL_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("MLOPS_REAL_DATA names no folder of real data")
    return Path(named)
