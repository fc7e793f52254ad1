"""What Dagster loads: the whole graph of one model, and what stays when a neighbour is broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster import AssetCheckKey, AssetKey

from mlops_pipelines.definitions import build_definitions
from mlops_pipelines.errors import DeclarationError
from mlops_pipelines.project import Project

MODEL = """\
type: mlops_pipelines.MonitoredModel

attributes:
  name: {name}
  task: binary_classification
  owners: ["team:oncology"]
  data:
    source: {{python: "sklearn.datasets:load_breast_cancer"}}
    target: target
  estimator:
    python: "sklearn.linear_model:LogisticRegression"
"""
ASSETS = (
    "deployment",
    "drift_report",
    "evaluation",
    "image",
    "labels",
    "model",
    "model_version",
    "performance",
    "prediction_log",
    "predictions",
    "record",
    "retraining_request",
    "security_report",
    "service_health",
    "training_data",
)
SENSORS = ("roll_back_degraded_models", "send_alerts", "scale_services", "release_and_retrain")


@pytest.fixture(autouse=True)
def _own_assets() -> Iterator[None]:
    """`assets` is bound to the folder of one project; other tests have others."""
    before = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "assets"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "assets"]:
        del sys.modules[name]
    sys.modules.update(before)


def declare(root: Path, folder: str, text: str) -> None:
    path = root / "assets" / folder / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def load() -> dg.Definitions:
    defs = build_definitions(Project.find())
    dg.Definitions.validate_loadable(defs)
    return defs


def keys(defs: dg.Definitions) -> list[str]:
    return sorted(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys())


def assets_of(*models: str) -> list[str]:
    return [f"{model}/{asset}" for model in models for asset in ASSETS]


def description(defs: dg.Definitions, *key: str) -> str:
    return str(defs.resolve_asset_graph().get(AssetKey(list(key))).description)


def test_the_whole_graph_of_one_model(project_root: Path) -> None:
    declare(project_root, "churn", MODEL.format(name="churn"))

    defs = load()
    graph = defs.resolve_asset_graph()

    def partitions(asset: Any) -> str:
        found = asset.partitions_def
        if isinstance(found, dg.DynamicPartitionsDefinition):
            return f"version ({found.name})"
        if isinstance(found, dg.DailyPartitionsDefinition):
            return f"day from {found.start:%Y-%m-%d}"
        return "none"

    found = {
        node.key.path[-1]: (
            sorted(parent.path[-1] for parent in node.parent_keys),
            partitions(node),
            "external" if node.is_external else "materializable",
        )
        for node in graph.asset_nodes
    }
    version, day = "version (churn_versions)", "day from 2026-01-01"
    assert found == {
        "retraining_request": ([], "none", "external"),
        "training_data": (["retraining_request"], "none", "materializable"),
        "model": (["training_data"], "none", "materializable"),
        "model_version": (["model"], version, "external"),
        "evaluation": (["model_version"], version, "materializable"),
        "security_report": (["evaluation"], version, "materializable"),
        "image": (["security_report"], version, "materializable"),
        "deployment": (["image"], version, "materializable"),
        "record": (
            ["deployment", "evaluation", "image", "security_report"],
            version,
            "materializable",
        ),
        "prediction_log": (["deployment"], day, "external"),
        "predictions": (["prediction_log"], day, "materializable"),
        "labels": (["predictions"], day, "materializable"),
        "drift_report": (["predictions"], day, "materializable"),
        "performance": (["labels"], day, "materializable"),
        "service_health": (["predictions"], day, "materializable"),
    }
    assert {
        (key.asset_key.path[-1], key.name): graph.get(key).blocking
        for key in graph.asset_check_keys
    } == {
        ("training_data", "expectations"): True,
        ("model", "not_overfit"): False,
        ("evaluation", "meets_thresholds"): True,
        ("evaluation", "no_worse_than_champion"): True,
        ("evaluation", "onnx_agrees"): False,
        ("evaluation", "shadow"): True,
        ("security_report", "secure"): True,
        ("image", "serves"): True,
        ("predictions", "expectations"): False,
        ("drift_report", "no_drift"): False,
        ("performance", "no_degradation"): False,
        ("service_health", "healthy"): False,
    }
    assert all(isinstance(key, AssetCheckKey) for key in graph.asset_check_keys)
    for node in graph.asset_nodes:
        assert node.key.path[0] == "churn"
        assert node.group_name == "churn"
        assert list(node.owners) == ["team:oncology"]
        assert node.tags["mlops/model"] == "churn"
        assert node.description

    repository = defs.get_repository_def()
    jobs = {
        job.name: sorted(key.path[-1] for key in job.asset_layer.executable_asset_keys)
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    assert jobs == {
        "churn_train": ["model", "training_data"],
        "churn_release": ["deployment", "evaluation", "image", "record", "security_report"],
        "churn_rollback": ["deployment", "record"],
        "churn_monitor": [
            "drift_report",
            "labels",
            "performance",
            "predictions",
            "service_health",
        ],
    }
    (schedule,) = repository.schedule_defs
    assert (
        schedule.name,
        schedule.job_name,
        schedule.cron_schedule,
        schedule.execution_timezone,
        schedule.default_status,
    ) == ("churn_nightly", "churn_monitor", "0 2 * * *", "UTC", dg.DefaultScheduleStatus.RUNNING)
    assert {
        sensor.name: sensor.default_status for sensor in repository.sensor_defs
    } == dict.fromkeys(
        ("roll_back_degraded_models", "send_alerts", "scale_services", "release_and_retrain"),
        dg.DefaultSensorStatus.RUNNING,
    )
    assert sorted(repository.get_top_level_resources()) == [
        "alerts",
        "mlflow",
        "project",
        "store",
        "target",
    ]


def test_the_night_asks_for_yesterday_and_for_the_day_whose_labels_are_in(
    project_root: Path,
) -> None:
    from datetime import UTC, datetime

    declare(
        project_root,
        "churn",
        MODEL.format(name="churn") + "  monitor: {label_delay_days: 3, start: 2026-01-01}\n",
    )
    repository = load().get_repository_def()
    (schedule,) = repository.schedule_defs

    def asked(night: datetime) -> list[tuple[str | None, str | None]]:
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_schedule_context(
                instance=instance, scheduled_execution_time=night, repository_def=repository
            )
            requests = schedule.evaluate_tick(context).run_requests or []
        return [(request.partition_key, request.run_key) for request in requests]

    assert asked(datetime(2026, 1, 10, 2, tzinfo=UTC)) == [
        ("2026-01-09", "2026-01-09-after-1"),
        ("2026-01-06", "2026-01-06-after-4"),
    ]
    assert asked(datetime(2026, 1, 2, 2, tzinfo=UTC)) == [("2026-01-01", "2026-01-01-after-1")]


def test_a_project_without_a_model_loads(project_root: Path) -> None:
    assert keys(load()) == []


SOUND = MODEL.format(name="sound")
BROKEN = {
    "a field": (
        MODEL.format(name="wrong") + "  gatse: []\n",
        "`assets/wrong/defs.yaml:12:3 gatse: is not a field; did you mean 'gates'?",
    ),
    "YAML": (
        MODEL.format(name="wrong") + "  gates: [\n",
        "`assets/wrong/defs.yaml:13:1 is not YAML: ",
    ),
    "an unknown type of ours": (
        MODEL.format(name="wrong").replace("MonitoredModel", "MonitredModel"),
        "`assets/wrong/defs.yaml:1:1 type: must be mlops_pipelines.MonitoredModel, not ",
    ),
    "a type of no installed module": (
        MODEL.format(name="wrong").replace("mlops_pipelines", "acme"),
        "`assets/wrong/defs.yaml:1:1 type: 'acme.MonitoredModel' is of no installed module",
    ),
    "an unknown type of an installed module": (
        "type: dagster.Nope\nattributes: {}\n",
        "`assets/wrong/defs.yaml:1:1 cannot be loaded: ",
    ),
    "a local type that is not there": (
        "type: .widget.Widget\nattributes: {}\n",
        "`assets/wrong/defs.yaml:1:1 cannot be loaded: ModuleNotFoundError: No module named "
        "'assets.wrong.widget'",
    ),
    "attributes that are no mapping": (
        "type: mlops_pipelines.MonitoredModel\nattributes: [a]\n",
        "`assets/wrong/defs.yaml:2:1 attributes: must be a mapping with name, ",
    ),
    "a key that is a number": (
        MODEL.format(name="wrong") + "  1: a\n",
        "`assets/wrong/defs.yaml:12:3 1: ",
    ),
    "a field beside attributes": (
        MODEL.format(name="wrong") + "color: red\n",
        "`assets/wrong/defs.yaml:12:1 color: is not a field; allowed: type, attributes, ",
    ),
    "an empty file": ("", "`assets/wrong/defs.yaml:1:1 is empty; "),
    "two keys": (
        MODEL.format(name="wrong") + "  task: regression\n",
        "`assets/wrong/defs.yaml:12:3 is not YAML: 'task' is given twice, first in line 5",
    ),
    "the name of another": (
        MODEL.format(name="sound"),
        "`assets/wrong/defs.yaml:4:3 name: 'sound' is already declared at "
        "assets/sound/defs.yaml:4`",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_one_asset_that_shows_its_mistakes(name: str, project_root: Path) -> None:
    text, message = BROKEN[name]
    declare(project_root, "sound", SOUND)
    declare(project_root, "wrong", text)

    defs = load()

    shown = "loading" if "cannot be loaded" in message else "declaration"
    assert keys(defs) == [*assets_of("sound"), f"wrong/{shown}"]
    assert message in description(defs, "wrong", shown)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_refused_where_dagster_only_validates(
    name: str, project_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = BROKEN[name]
    declare(project_root, "sound", SOUND)
    declare(project_root, "wrong", text)
    monkeypatch.setenv("DAGSTER_IS_DEFS_VALIDATION_CLI", "1")

    with pytest.raises(Exception) as caught:  # noqa: PT011 - some are Dagster's own
        load()

    if "cannot be loaded" not in message:
        assert isinstance(caught.value, DeclarationError)
        assert message.strip("`") in str(caught.value)


def test_every_kind_of_broken_model_at_once(project_root: Path) -> None:
    declare(project_root, "sound", SOUND)
    for number, (text, _) in enumerate(BROKEN.values()):
        declare(project_root, f"wrong_{number}", text)
    declare(project_root, "zuletzt", MODEL.format(name="zuletzt"))

    found = keys(load())

    assert [key for key in found if not key.startswith("wrong_")] == assets_of("sound", "zuletzt")
    assert sorted(key.partition("/")[0] for key in found if key.startswith("wrong_")) == sorted(
        f"wrong_{number}" for number in range(len(BROKEN))
    )


def test_two_models_in_one_file_and_the_sound_one_stays(project_root: Path) -> None:
    declare(
        project_root,
        "pair",
        "---\n".join(
            (
                MODEL.format(name="first"),
                MODEL.format(name="second") + "  gatse: []\n",
                MODEL.format(name="third"),
            )
        ),
    )

    defs = load()

    assert keys(defs) == [*assets_of("first"), "pair/declaration_2", *assets_of("third")]
    assert "assets/pair/defs.yaml:24:3 gatse" in description(defs, "pair", "declaration_2")


TEAM = """\
type: dagster.DefsFolderComponent
post_processing:
  assets:
    - target: "*"
      attributes:
        owners: ["team:risk"]
        tags: {domain: credit}
"""


def owners(defs: dg.Definitions, *key: str) -> list[str]:
    return list(defs.resolve_asset_graph().get(AssetKey(list(key))).owners)


def test_a_team_folder_marks_its_models(project_root: Path) -> None:
    declare(project_root, "risk", TEAM)
    declare(project_root, "risk/churn", MODEL.format(name="churn"))
    declare(project_root, "other", MODEL.format(name="other"))

    defs = load()

    assert keys(defs) == [*assets_of("churn", "other")]
    assert owners(defs, "churn", "model") == ["team:risk"]
    assert owners(defs, "other", "model") == ["team:oncology"]


def test_a_team_folder_keeps_its_marks_while_another_folder_is_broken(project_root: Path) -> None:
    declare(project_root, "risk", TEAM)
    declare(project_root, "risk/churn", MODEL.format(name="churn"))
    declare(project_root, "wrong", "type: [")

    defs = load()

    assert keys(defs) == [*assets_of("churn"), "wrong/declaration"]
    assert owners(defs, "churn", "model") == ["team:risk"]


def test_a_team_folder_that_is_wrong_itself_shows_that_and_its_models_stay(
    project_root: Path,
) -> None:
    declare(project_root, "risk", TEAM.replace("owners", "ownres"))
    declare(project_root, "risk/churn", MODEL.format(name="churn"))

    defs = load()

    assert keys(defs) == [*assets_of("churn"), "risk/loading"]
    assert "ownres" in description(defs, "risk", "loading")


def test_python_beside_the_models_is_loaded_and_its_failure_is_shown(project_root: Path) -> None:
    declare(project_root, "churn", MODEL.format(name="churn"))
    (project_root / "assets" / "more").mkdir()
    file = project_root / "assets" / "more" / "extra.py"
    file.write_text("import dagster as dg\n\n@dg.asset\ndef extra():\n    pass\n")
    assert keys(load()) == [*assets_of("churn"), "extra"]

    file.write_text("import nothing_of_that_name\n")
    for name in [name for name in sys.modules if name.startswith("assets.")]:
        del sys.modules[name]
    defs = load()

    assert keys(defs) == [*assets_of("churn"), "more/loading"]
    assert "No module named 'nothing_of_that_name'" in description(defs, "more", "loading")


def test_a_folder_may_have_any_name(project_root: Path) -> None:
    declare(project_root, "risk team 1.2/churn-v2", MODEL.format(name="churn"))
    declare(project_root, "risk team 1.2/wrong-v2", "type: [")

    assert keys(load()) == [*assets_of("churn"), "risk team 1.2/wrong-v2/declaration"]


def test_a_hundred_models_load(project_root: Path) -> None:
    names = [f"model_{number:03}" for number in range(100)]
    for name in names:
        declare(project_root, name, MODEL.format(name=name))

    defs = build_definitions(Project.find())

    assert keys(defs) == assets_of(*names)
    assert len(defs.get_repository_def().sensor_defs) == 4


def test_the_example_models_are_sound(project: Path) -> None:
    found = Project.find()

    assert sorted(found.models) == ["breast_cancer", "card_fraud", "diabetes"]
    assert found.broken == []
    assert keys(load()) == assets_of("breast_cancer", "card_fraud", "diabetes")


def test_a_schema_for_editors_is_made_from_the_spec() -> None:
    from mlops_pipelines.component import Declaration

    schema = Declaration.model_json_schema()

    assert sorted(schema["required"]) == ["data", "estimator", "name", "task"]
    assert all(
        "description" in field for name, field in schema["properties"].items() if name == "name"
    )


def test_the_scaffold_is_a_sound_declaration(project_root: Path) -> None:
    from mlops_pipelines.component import TEMPLATE

    declare(project_root, "churn", TEMPLATE.format(name="churn"))

    found = Project.find()

    assert (list(found.models), found.broken) == (["churn"], [])
    assert yaml.safe_load(TEMPLATE.format(name="churn"))["attributes"]["name"] == "churn"
