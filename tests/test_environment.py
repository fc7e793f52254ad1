from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from mlops_pipelines.environment import Environment, load_environment, resolve
from mlops_pipelines.errors import DeclarationError, MlopsError
from mlops_pipelines.parts import FromEnv
from mlops_pipelines.project import Project
from mlops_pipelines.resources import AlertsResource, resources

BROKEN = {
    "misspelt part": (
        "mlfow: {}\n",
        [
            "1:1 mlfow: is not a field; did you mean 'mlflow'? "
            "allowed: mlflow, store, target, alerts, dagster"
        ],
    ),
    "misspelt field": (
        "mlflow: {tracking_url: x}\n",
        [
            "1:10 mlflow.tracking_url: is not a field; did you mean 'tracking_uri'? "
            "allowed: tracking_uri, artifact_root"
        ],
    ),
    "a secret that is neither text nor {env}": (
        "store: {root: 5}\ndagster: {postgres_url: [x]}\nalerts: {urls: [1, {name: X}]}\n",
        [
            "1:9 store.root: must be text or {env: NAME}, not 5",
            "2:11 dagster.postgres_url: must be text or {env: NAME}, not a list",
            "3:17 alerts.urls.0: must be text or {env: NAME}, not 1",
            "3:20 alerts.urls.1.env: is required, and missing",
            "3:21 alerts.urls.1.name: is not a field; allowed: env",
        ],
    ),
    "a password written down": (
        "dagster:\n  postgres_url: postgresql://me:hunter2@db/dagster\n",
        [
            "2:3 dagster.postgres_url: holds a password; put the address into an environment "
            "variable: {env: NAME}"
        ],
    ),
    "unknown target": (
        "target: {type: swarm}\n",
        ["1:10 target.type: must be 'process', 'docker' or 'kubernetes', not 'swarm'"],
    ),
    "a field of another target": (
        "target: {type: docker, ports: [1, 2]}\n",
        ["1:24 target.ports: is not a field; allowed: type, base_image, network, gateway"],
    ),
    "a target that is no mapping": (
        "target: docker\n",
        ["1:1 target: must be a mapping with type, host, ports, not 'docker'"],
    ),
    "a cluster without images": (
        "target: {type: kubernetes}\n",
        ["1:1 target.repository: is required, and missing"],
    ),
    "one port": (
        "target: {ports: 8100}\n",
        ["1:10 target.ports: must be [first, last], between 1024 and 65535, not 8100"],
    ),
    "ports in the wrong order": (
        "target: {ports: [9000, 8000]}\n",
        ["1:10 target.ports: must be [first, last], between 1024 and 65535, not a list"],
    ),
    "ports that are text": (
        "target: {ports: [a, b]}\n",
        ["1:10 target.ports: must be [first, last], between 1024 and 65535, not a list"],
    ),
    "a list": (
        "- mlflow\n",
        ["1:1 must be a mapping with mlflow, store, target, alerts, dagster, not a list"],
    ),
    "two documents": (
        "mlflow: {}\n---\nstore: {}\n",
        ["3:1 is a second document; an environment is one"],
    ),
    "no YAML": (
        "mlflow: {\n",
        ["2:1 is not YAML: expected the node content, but found '<stream end>'"],
    ),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "resources").mkdir()
    return tmp_path


def write(root: Path, text: str, name: str = "staging") -> None:
    (root / "resources" / f"{name}.yaml").write_text(text)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_environment_says_what_is_wrong_where(name: str, root: Path) -> None:
    text, expected = BROKEN[name]
    write(root, text)

    with pytest.raises(DeclarationError) as caught:
        load_environment(root, "staging")

    assert [str(mistake) for mistake in caught.value.mistakes] == [
        f"resources/staging.yaml:{line}" for line in expected
    ]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "mlflow: {}\n"])
def test_an_empty_environment_is_all_defaults(text: str, root: Path) -> None:
    write(root, text)

    assert load_environment(root, "staging") == Environment()


def test_an_unknown_environment_is_told_by_the_known(root: Path) -> None:
    write(root, "", "local")
    write(root, "", "production")

    with pytest.raises(MlopsError) as caught:
        load_environment(root, "staging")

    assert str(caught.value) == (
        "MLOPS_ENV=staging: there is no resources/staging.yaml; there are: local, production"
    )


def test_a_setting_is_itself_or_what_its_variable_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_STORE", "s3://bucket/prefix")

    assert resolve(None, "default") == "default"
    assert resolve("/data") == "/data"
    assert resolve(FromEnv(env="MY_STORE")) == "s3://bucket/prefix"


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_STORE", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_STORE", value)

    with pytest.raises(MlopsError) as caught:
        resolve(FromEnv(env="MY_STORE"))

    assert str(caught.value) == (
        "environment variable MY_STORE is not set, and {env: MY_STORE} asks for it; export it, "
        "or choose another environment with MLOPS_ENV"
    )


SECRETS = {
    "MLFLOW_TRACKING_URI": "http://me:mlflow-secret@mlflow:5000",
    "MLOPS_STORE": "s3://key:store-secret@bucket/prefix",
    "DAGSTER_POSTGRES_URL": "postgresql://me:postgres-secret@db/dagster",
    "MLOPS_ALERT_URL": "json://me:alert-secret@host",
}


def test_secrets_stay_names_in_dagster_until_they_are_used(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLOPS_ENV", "production")
    project = Project.find()

    made = resources(project)

    @dg.asset
    def told(alerts: AlertsResource) -> dg.MaterializeResult:
        return dg.MaterializeResult(
            metadata={"right": list(alerts.urls) == [SECRETS["MLOPS_ALERT_URL"]]}
        )

    defs = dg.Definitions(assets=[told], resources=made)
    repository = defs.get_repository_def()
    from dagster._core.remote_representation.external_data import RepositorySnap

    snap = dg.serialize_value(RepositorySnap.from_def(repository))
    assert [name for name in SECRETS if name in snap] == [
        "MLFLOW_TRACKING_URI",
        "MLOPS_STORE",
        "MLOPS_ALERT_URL",
    ]
    assert "-secret" not in snap
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["right"].value is True


def test_production_finds_everything_by_its_variables(
    project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLOPS_ENV", "production")
    project = Project.find()

    assert project.tracking_uri == SECRETS["MLFLOW_TRACKING_URI"]
    assert project.artifact_root == ""
    assert project.environment.dagster.postgres_url == FromEnv(env="DAGSTER_POSTGRES_URL")


def test_local_keeps_everything_under_its_home(project_root: Path, tmp_path: Path) -> None:
    project, home = Project.find(), tmp_path / "home"

    assert project.root == project_root
    assert project.tracking_uri == f"sqlite:///{home}/mlflow.db"
    assert project.artifact_root == f"{home}/artifacts"
    assert project.store.root == f"{home}/store"
    assert project.serving_home == home / "serving"
