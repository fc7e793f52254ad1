"""The loop with PostgreSQL, an MLflow server, a bucket and a webhook, and each of them failing.

The steps are fixtures, each on the state that the one before it left; the tests look at them.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sklearn.datasets import load_breast_cancer

from mlops_pipelines.store import Store
from tests.production.conftest import MLOPS, MODEL, Production
from tests.production.services import free_port

SENSOR = f"""
from mlops_pipelines.demo.daemon import Daemon
from mlops_pipelines.project import Project
from mlops_pipelines.workbench import Workbench
bench = Workbench(Project.find())
with bench.instance() as instance:
    Daemon(bench.defs, instance, "{MODEL}").tick("send_alerts")
"""

Answer = tuple[str, dict[str, Any]]


def post(address: str, path: str, body: dict[str, Any]) -> Answer:
    """The version that answers, and its answer."""
    request = urllib.request.Request(
        address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.headers["X-Model-Version"], json.load(response)


def ask(address: str, rows: int = 1) -> Answer:
    frame = (
        load_breast_cancer(as_frame=True).frame.drop(columns="target").sample(rows, random_state=1)
    )
    split = {"columns": list(frame.columns), "data": frame.to_numpy().tolist()}
    return post(address, "/invocations", {"dataframe_split": split})


@pytest.fixture(scope="module")
def trained(production: Production) -> dict[str, Any]:
    return json.loads(production.mlops("train", MODEL, "--json"))


@pytest.fixture(scope="module")
def released(production: Production, trained: dict[str, Any]) -> dict[str, Any]:
    """Version 1 has the traffic; version 2 was trained meanwhile."""
    said, second = production.together(
        ("release", MODEL, "--version", "1", "--json"), ("train", MODEL, "--json")
    )
    assert json.loads(second)["version"] == 2
    return json.loads(said)


@pytest.fixture(scope="module")
def answered(released: dict[str, Any]) -> Answer:
    version, answer = ask(released["address"], 60)
    truth = load_breast_cancer(as_frame=True).target.sample(60, random_state=1)
    labels = [
        {"prediction_id": asked, "label": int(label)}
        for asked, label in zip(answer["prediction_ids"], truth, strict=True)
    ]
    assert post(released["address"], "/feedback", {"labels": labels})[1]["accepted"] == 60
    return version, answer


@pytest.fixture(scope="module")
def watched(production: Production, answered: Answer) -> tuple[Any, Any]:
    """The day, and what serves."""
    day, status = production.together(("monitor", MODEL, "--json"), ("status", "--json"))
    return json.loads(day), json.loads(status)


@pytest.fixture(scope="module")
def succeeded(production: Production, watched: Any, answered: Answer) -> list[Any]:
    """Version 2 takes the traffic, while somebody looks into version 1 and its rows."""
    said = production.together(
        ("release", MODEL, "--json"),
        ("lineage", MODEL, "1", "--verify", "--json"),
        ("replay", MODEL, answered[1]["prediction_ids"][5], "--json"),
    )
    return [json.loads(each) for each in said]


@pytest.fixture(scope="module")
def rolled_back(production: Production, succeeded: list[Any]) -> tuple[str, dict[str, Any]]:
    """What is said while somebody else releases, and afterwards."""
    rollback = ("rollback", MODEL, "--reason", "complaints from the clinic")
    with production.target.lock(MODEL, "the release of ann"):
        busy = production.refused(*rollback)
    return busy, json.loads(production.mlops(*rollback, "--json"))


@pytest.fixture(scope="module")
def refused(production: Production, rolled_back: Any, answered: Answer) -> dict[str, str]:
    """The line that each fault gives, by the fault; MLflow's server is down from here on."""
    books, store = production.databases.dagster, production.env["MLOPS_STORE"]
    closed = f"127.0.0.1:{free_port()}"
    faults: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "password": (
            ("train", MODEL),
            {"DAGSTER_POSTGRES_URL": books.replace(production.databases.password, "hunter2")},
        ),
        "variable": (("train", MODEL), {"MLOPS_STORE": ""}),
        "bucket": (("train", MODEL), {"MLOPS_STORE": store.replace("//models", "//nowhere")}),
        "s3": (
            ("replay", MODEL, "no-such-prediction"),
            {"MLOPS_STORE": re.sub(r"127.0.0.1:\d+", closed, store)},
        ),
    }
    with ThreadPoolExecutor(3) as pool:
        lines = pool.map(lambda each: production.refused(*each[0], **each[1]), faults.values())
        said = dict(zip(faults, lines, strict=True))
    production.mlflow.stop()
    with ThreadPoolExecutor(2) as pool:
        release = pool.submit(production.refused, "release", MODEL)
        status = pool.submit(production.start, MLOPS, "status")
        # What serves is told all the same, and the exit code says that something is wrong.
        assert status.result().returncode == 1
        said["mlflow, status"] = status.result().stdout.strip()
        return said | {"mlflow, release": release.result()}


def test_check_says_what_the_environment_lacks(production: Production) -> None:
    lacking = production.start(MLOPS, "check", MLOPS_STORE="", MLOPS_ALERT_URL="")

    assert production.mlops("check") == "1 models and 1 environments are sound\n"
    assert (lacking.returncode, lacking.stdout.splitlines()) == (
        1,
        [
            "resources/production.yaml asks for {env: MLOPS_STORE}, which is not set",
            "resources/production.yaml asks for {env: MLOPS_ALERT_URL}, which is not set",
        ],
    )


def test_a_version_is_trained_on_the_server(trained: dict[str, Any]) -> None:
    assert trained["version"] == 1
    assert trained["metrics"]["roc_auc"] > 0.95


def test_it_is_released_while_another_is_trained(released: dict[str, Any]) -> None:
    assert (released["version"], released["action"]) == (1, "deploy")
    assert ask(released["address"])[0] == "1"


def test_rows_and_artifacts_lie_behind_the_services(
    production: Production, released: dict[str, Any]
) -> None:
    bundles = production.home / "cache" / "bundles" / MODEL
    artifacts = production.mlflow.folder / "artifacts"

    assert sorted(path.name for path in production.home.iterdir()) == [
        "cache",
        "dagster",
        "serving",
    ]
    assert {path.suffix for path in bundles.iterdir()} == {""}
    assert list(artifacts.rglob("model.skops"))


def test_a_day_is_judged_and_its_report_is_kept(
    production: Production, watched: tuple[Any, Any]
) -> None:
    day, (status,) = watched
    name = "drift_report_v1.html"
    (logged,) = production.mlflow.folder.rglob(name)

    assert {each["check"]: each["passed"] for each in day["checks"]} == {
        "expectations": True,
        "no_drift": True,
        "no_degradation": True,
        "healthy": True,
    }
    assert logged.read_bytes() == _bucket(production).read_bytes(
        f"reports/{MODEL}/{day['day']}/{name}"
    )
    assert (status["champion"], status["serving"], status["replicas"]) == (1, 1, 1)


def test_a_second_version_takes_the_traffic(succeeded: list[Any]) -> None:
    assert (succeeded[0]["version"], succeeded[0]["previous"]) == (2, 1)


def test_everything_behind_a_version_is_found(succeeded: list[Any], answered: Answer) -> None:
    _, lineage, replay = succeeded

    proofs = {proof["thing"]: proof["holds"] for proof in lineage["proofs"]}
    assert {"snapshot", "bundle", "lock file"} <= proofs.keys()
    assert [thing for thing, holds in proofs.items() if not holds] == []
    assert [each["what"] for each in lineage["moves"]] == ["deployed"]
    assert (replay["identical"], replay["version"]) == (True, 1)
    assert replay["logged"]["prediction"] == answered[1]["predictions"][5]


def test_a_second_release_says_who_holds_the_first(rolled_back: tuple[str, Any]) -> None:
    assert re.fullmatch(
        r"error: breast_cancer: the release of ann \(pid \d+\) holds the release lock since \S+; "
        r"nothing was changed; try again when it has ended",
        rolled_back[0],
    )


def test_a_rollback_returns_to_the_first_version(
    rolled_back: tuple[str, dict[str, Any]], released: dict[str, Any]
) -> None:
    done = rolled_back[1]

    assert (done["version"], done["action"], done["actor"]) == (1, "rollback", "mlops rollback")
    assert done["reason"] == "complaints from the clinic"
    assert ask(released["address"])[0] == "1"


def test_the_sensor_tells_people_of_the_rollback(production: Production, rolled_back: Any) -> None:
    done = production.start(sys.executable, "-W", "ignore", "-c", SENSOR)

    assert done.returncode == 0, done.stderr
    assert [(each["title"], each["message"]) for each in production.webhook.posted] == [
        (
            "breast_cancer: rolled back to version 1",
            "complaints from the clinic\n\nmodel: breast_cancer",
        )
    ]


def test_a_machine_that_lost_its_bundles_fetches_them_again(
    production: Production, rolled_back: Any, released: dict[str, Any]
) -> None:
    production.mlops("stop", MODEL)
    shutil.rmtree(production.home / "cache")

    said = production.mlops("serve", MODEL)

    assert said == f"breast_cancer version 1 serves at {released['address']} (1 workers)\n"
    assert ask(released["address"])[0] == "1"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (
            "password",
            r"error: Dagster's database postgresql://127\.0\.0\.1:\d+/\w+ does not answer: .*"
            r"password authentication failed for user .*; start it, or mend dagster\.postgres_url "
            r"in resources/production\.yaml",
        ),
        (
            "variable",
            r"error: environment variable MLOPS_STORE is not set, and \{env: MLOPS_STORE\} asks "
            r"for it; export it, or choose another environment with MLOPS_ENV",
        ),
        (
            "bucket",
            r"error: store s3://nowhere/prefix cannot be written at snapshots/breast_cancer/.*; "
            r"nothing was changed",
        ),
        (
            "s3",
            r"error: store s3://models/prefix cannot be read at predictions/breast_cancer: .*",
        ),
        *(
            (
                f"mlflow, {what}",
                rf"{before}: MLflow at http://127\.0\.0\.1:\d+ does not answer \(connecting\); "
                r"start it, or mend mlflow\.tracking_uri in resources/",
            )
            for what, before in (
                ("release", "error"),
                ("status", r"breast_cancer: version 1 serves at http://127\.0\.0\.1:\d+"),
            )
        ),
    ],
)
def test_a_fault_is_one_line_and_the_version_serves_on(
    fault: str, line: str, refused: dict[str, str], released: dict[str, Any]
) -> None:
    assert re.fullmatch(line, refused[fault]), refused[fault]
    assert "hunter2" not in refused[fault]
    assert ask(released["address"])[0] == "1"


def test_no_secret_is_written_down(production: Production, refused: dict[str, str]) -> None:
    written = {"what was said": "\n".join(production.heard).encode()}
    written |= {
        str(path): path.read_bytes()
        for folder in (production.home, production.root, production.mlflow.folder / "artifacts")
        for path in folder.rglob("*")
        if path.is_file()
    }
    store = _bucket(production)
    written |= {store.uri(key): store.read_bytes(key) for key in store.keys("")}
    for book in (production.databases.dagster, production.databases.mlflow):
        written |= _tables(book)

    assert any(name.endswith("dagster.event_logs") for name in written)
    assert any(name.endswith("mlflow.model_versions") for name in written)
    assert [
        (name, secret)
        for name, content in written.items()
        for secret, text in production.secrets.items()
        if text.encode() in content
    ] == []


def _bucket(production: Production) -> Store:
    return Store(production.env["MLOPS_STORE"].replace("//", "//any:any@", 1))


def _tables(address: str) -> dict[str, bytes]:
    """Every row of every table, as text; what Dagster compresses is read too."""
    found: dict[str, bytes] = {}
    engine = sa.create_engine(address.replace("://", "+psycopg2://", 1))
    book = address.rpartition("_")[2]
    with engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            rows = connection.execute(sa.text(f'SELECT * FROM "{table}"')).all()
            cells = [cell for row in rows for cell in row]
            found[f"{book}.{table}"] = b"\n".join(map(_plain, cells))
    engine.dispose()
    return found


def _plain(cell: Any) -> bytes:
    if not isinstance(cell, memoryview):
        return str(cell).encode()
    try:
        return zlib.decompress(bytes(cell))
    except zlib.error:
        return bytes(cell)
