"""A table of broken declarations, each with the exact message it must give."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import DeclarationError, NotFoundError
from mlops_pipelines.project import Project, read_declarations
from mlops_pipelines.release_spec import FindingKind
from mlops_pipelines.spec import ModelSpec

SOUND = """\
type: mlops_pipelines.MonitoredModel

attributes:
  name: churn
  task: binary_classification
  data:
    source: {csv: churn.csv}
    target: churned
  estimator:
    python: "sklearn.linear_model:LogisticRegression"
"""

FIELDS = (
    "name, description, owners, task, data, estimator, quality, gates, release, security, monitor, "
    "react, card"
)
KINDS = ", ".join(map(repr, get_args(FindingKind)[:-1])) + f" or {get_args(FindingKind)[-1]!r}"
BINARY = (
    "accuracy, precision, recall, f1, roc_auc, average_precision, log_loss, brier, "
    "calibration_error"
)


def added(text: str) -> str:
    return SOUND + textwrap.indent(textwrap.dedent(text).strip("\n"), "  ") + "\n"


def swapped(old: str, new: str) -> str:
    assert old in SOUND
    return SOUND.replace(old, new)


BROKEN = {
    "misspelt field": (
        added("gatse: []"),
        [f"11:3 gatse: is not a field; did you mean 'gates'? allowed: {FIELDS}"],
    ),
    "misspelt nested field": (
        swapped("    target:", "    traget:"),
        [
            "6:3 data.target: is required, and missing",
            "8:5 data.traget: is not a field; did you mean 'target'? allowed: source, target, "
            "positive, event_time, segments, features, drop, split",
        ],
    ),
    "unknown field that is near nothing": (
        added("monitor: {xyz: 1}"),
        [
            "11:13 monitor.xyz: is not a field; allowed: schedule, start, timezone, labels, "
            "label_delay_days, false_alarms_per_year, drift, min_rows, latency_ms, error_rate"
        ],
    ),
    "missing fields": (
        "type: mlops_pipelines.MonitoredModel\nattributes:\n  name: churn\n",
        [
            "2:1 task: is required, and missing",
            "2:1 data: is required, and missing",
            "2:1 estimator: is required, and missing",
        ],
    ),
    "no attributes": (
        "type: mlops_pipelines.MonitoredModel\n",
        [
            "1:1 name: is required, and missing",
            "1:1 task: is required, and missing",
            "1:1 data: is required, and missing",
            "1:1 estimator: is required, and missing",
        ],
    ),
    "attributes are a list": (
        "type: mlops_pipelines.MonitoredModel\nattributes: [churn]\n",
        [f"2:1 attributes: must be a mapping with {FIELDS}, not a list"],
    ),
    "a mapping is text": (
        swapped("source: {csv: churn.csv}", "source: churn.csv"),
        [
            "7:5 data.source: must be a mapping with csv, parquet, sql, python, params, "
            "not 'churn.csv'"
        ],
    ),
    "a mapping is empty": (
        added("react:"),
        ["11:3 react: must be a mapping with rollback, retrain, not nothing"],
    ),
    "name in capitals": (
        swapped("churn\n", "Churn\n"),
        [
            "4:3 name: must be lower-case letters, digits and underscores, a letter first, "
            "not 'Churn'"
        ],
    ),
    "name is a number": (swapped("name: churn", "name: 7"), ["4:3 name: must be text, not 7"]),
    "name is a date, which YAML 1.2 reads as text": (
        swapped("name: churn", "name: 2026-01-01"),
        [
            "4:3 name: must be lower-case letters, digits and underscores, a letter first, "
            "not '2026-01-01'"
        ],
    ),
    "unknown task": (
        swapped("binary_classification", "classification"),
        [
            "5:3 task: must be 'binary_classification', 'multiclass_classification' or "
            "'regression', not 'classification'"
        ],
    ),
    "two sources": (
        swapped("{csv: churn.csv}", "{csv: churn.csv, parquet: churn.parquet}"),
        [
            "7:5 data.source: exactly one of csv, parquet, sql, python is needed, "
            "not csv and parquet"
        ],
    ),
    "no source": (
        swapped("{csv: churn.csv}", "{}"),
        ["7:5 data.source: exactly one of csv, parquet, sql, python is needed, not none"],
    ),
    "parameters of a file": (
        swapped("{csv: churn.csv}", "{csv: churn.csv, params: {a: 1}}"),
        ["7:30 data.source.params: belongs to a python source, not to csv"],
    ),
    "a query without its text": (
        swapped("{csv: churn.csv}", "{sql: {url: {env: DB_URL}}}"),
        ["7:14 data.source.sql.query: is required, and missing"],
    ),
    "a secret that is a number": (
        swapped("{csv: churn.csv}", "{sql: {url: 5, query: SELECT 1}}"),
        ["7:20 data.source.sql.url: must be text or {env: NAME}, not 5"],
    ),
    "a secret that is a list": (
        swapped("{csv: churn.csv}", "{sql: {url: [a], query: SELECT 1}}"),
        ["7:20 data.source.sql.url: must be text or {env: NAME}, not a list"],
    ),
    "a secret by another word": (
        swapped("{csv: churn.csv}", "{sql: {url: {environment: DB_URL}, query: SELECT 1}}"),
        [
            "7:20 data.source.sql.url.env: is required, and missing",
            "7:26 data.source.sql.url.environment: is not a field; allowed: env",
        ],
    ),
    "a secret with a field too many": (
        swapped("{csv: churn.csv}", "{sql: {url: {env: DB_URL, default: x}, query: SELECT 1}}"),
        ["7:39 data.source.sql.url.default: is not a field; allowed: env"],
    ),
    "a secret in the place of its name is not shown": (
        swapped("{csv: churn.csv}", "{sql: {url: {env: hunter2}, query: SELECT 1}}"),
        [
            "7:26 data.source.sql.url.env: must name an environment variable: upper case, "
            "digits and _"
        ],
    ),
    "a password written down is not shown": (
        swapped(
            "{csv: churn.csv}", '{sql: {url: "postgresql://me:hunter2@db/x", query: SELECT 1}}'
        ),
        [
            "7:20 data.source.sql.url: holds a password; put the address into an environment "
            "variable: {env: NAME}"
        ],
    ),
    "the target is a feature": (
        swapped("target: churned", "target: churned\n    features: [age, churned]"),
        ["9:5 data.features: must not contain the target 'churned'"],
    ),
    "the target is dropped": (
        swapped("target: churned", "target: churned\n    drop: [churned]"),
        ["9:5 data.drop: must not contain the target 'churned'"],
    ),
    "the target is the time": (
        swapped("target: churned", "target: churned\n    event_time: churned"),
        ["9:5 data.event_time: must not contain the target 'churned'"],
    ),
    "a feature is dropped": (
        swapped("target: churned", "target: churned\n    features: [a, b]\n    drop: [b]"),
        ["10:5 data.drop: must not contain 'b', which is among the features"],
    ),
    "drop is text": (
        swapped("target: churned", "target: churned\n    drop: id"),
        ["9:5 data.drop: must be a list, not 'id'"],
    ),
    "a number among the columns": (
        swapped("target: churned", "target: churned\n    drop: [id, 7]"),
        ["9:16 data.drop.1: must be text, not 7"],
    ),
    "positive is a list": (
        swapped("target: churned", "target: churned\n    positive: [a]"),
        [
            "9:5 data.positive: must be a value of the target: text, a whole number, true or "
            "false, not a list"
        ],
    ),
    "everything is held out": (
        swapped("target: churned", "target: churned\n    split: {holdout: 1, seed: -1}"),
        [
            "9:13 data.split.holdout: must be less than 0.9, not 1",
            "9:25 data.split.seed: must be at least 0, not -1",
        ],
    ),
    "estimator without its module": (
        swapped("sklearn.linear_model:", ""),
        [
            "10:5 estimator.python: must be module:attribute, such as "
            "'sklearn.datasets:load_wine', not 'LogisticRegression'"
        ],
    ),
    "one fold": (
        SOUND + "    cross_validation: 1\n",
        ["11:5 estimator.cross_validation: must be 2 folds or more, or 0 for none, not 1"],
    ),
    "half a fold": (
        SOUND + "    cross_validation: 2.5\n",
        ["11:5 estimator.cross_validation: must be a whole number, not 2.5"],
    ),
    "unknown balance": (
        SOUND + "    balance: smote\n",
        ["11:5 estimator.balance: must be 'none' or 'weights', not 'smote'"],
    ),
    "a key of parameters is a number": (
        SOUND + "    params: {1: a}\n",
        ["11:14 estimator.params.1: must be text, not 1"],
    ),
    "suite is no YAML file": (
        added("quality: {suite: suite.json}"),
        ["11:13 quality.suite: must be auto, or a .yaml file beside this one, not 'suite.json'"],
    ),
    "gates are a mapping": (
        added("gates: {metric: f1, at_least: 0.5}"),
        ["11:3 gates: must be a list, not a mapping"],
    ),
    "a gate with two bounds": (
        added("gates:\n- {metric: f1, at_least: 0.5}\n- {metric: f1, at_least: 1, at_most: 2}"),
        [
            "13:5 gates.1: exactly one of at_least, at_most, within_champion is needed, "
            "not at_least and at_most"
        ],
    ),
    "a gate without a bound": (
        added("gates: [{metric: f1}]"),
        ["11:11 gates.0: exactly one of at_least, at_most, within_champion is needed, not none"],
    ),
    "a gate that is text": (
        added("gates: [f1]"),
        [
            "11:11 gates.0: must be a mapping with metric, fairness, segment, at_least, at_most, "
            "within_champion, not 'f1'"
        ],
    ),
    "a gate on nothing": (
        added("gates: [{at_most: 0.2}]"),
        ["11:11 gates.0: exactly one of metric, fairness is needed, not none"],
    ),
    "a gate on a metric and a gap": (
        added("gates: [{metric: f1, fairness: accuracy_difference, segment: site, at_most: 1}]"),
        ["11:11 gates.0: exactly one of metric, fairness is needed, not both"],
    ),
    "a metric of a segment": (
        added("gates: [{metric: f1, segment: site, at_least: 0.2}]"),
        ["11:24 gates.0.segment: belongs to fairness, not to a metric"],
    ),
    "a gap of no segment": (
        added("gates: [{fairness: accuracy_difference, at_most: 0.1}]"),
        ["11:11 gates.0.segment: is required of fairness, and missing"],
    ),
    "a gap without a bound": (
        added("gates: [{fairness: accuracy_difference, segment: site}]"),
        ["11:11 gates.0.at_most: is required of fairness, and missing"],
    ),
    "a gap with a bound below": (
        added("gates: [{fairness: accuracy_difference, segment: site, at_least: 0.1}]"),
        ["11:58 gates.0.at_least: is no bound on a gap between groups; at_most is"],
    ),
    "a gap below nought": (
        added("gates: [{fairness: accuracy_difference, segment: site, at_most: -1}]"),
        ["11:58 gates.0.at_most: must be at least 0, not -1"],
    ),
    "a gap that the task does not have": (
        added("gates:\n- {metric: f1, at_least: 0.5}\n- {fairness: mae, segment: x, at_most: 1}"),
        [
            "13:6 gates.1.fairness: must be one of demographic_parity_difference, "
            "equal_opportunity_difference, false_positive_rate_difference, "
            "equalized_odds_difference, accuracy_difference, precision_difference, "
            "recall_difference, f1_difference, roc_auc_difference, average_precision_difference, "
            "log_loss_difference, brier_difference, calibration_error_difference for "
            "binary_classification, not 'mae'"
        ],
    ),
    "a gap between groups that are not declared": (
        swapped(
            "    target: churned\n",
            "    target: churned\n    segments: [site]\n"
            "  gates: [{fairness: accuracy_difference, segment: sex, at_most: 0.1}]\n",
        ),
        ["10:43 gates.0.segment: must be one of data.segments (there are: site), not 'sex'"],
    ),
    "a card of something else": (
        added("card: {intended_use: [triage], limits: [none], purpose: triage}"),
        [
            "11:10 card.intended_use: must be text, not a list",
            "11:50 card.purpose: is not a field; allowed: intended_use, limits, contact",
        ],
    ),
    "wrong types deep in a list": (
        added("gates:\n- {metric: f1, at_least: high}\n- {metric: [], at_most: {}}"),
        [
            "12:18 gates.0.at_least: must be a number, not 'high'",
            "13:6 gates.1.metric: must be text, not a list",
            "13:18 gates.1.at_most: must be a number, not a mapping",
        ],
    ),
    "a bound that is no number": (
        added("gates: [{metric: f1, at_least: .nan}]"),
        ["11:24 gates.0.at_least: must be a finite number, not nan"],
    ),
    "a metric of another task": (
        added("gates: [{metric: rmse, at_most: 3}]\nreact: {rollback: {metric: aucroc}}"),
        [
            f"11:12 gates.0.metric: must be one of {BINARY} for binary_classification, not 'rmse'",
            f"12:22 react.rollback.metric: must be one of {BINARY} for binary_classification, "
            "not 'aucroc'",
        ],
    ),
    "fewer replicas at most than at least": (
        added("release: {replicas: {min: 3, max: 2}}"),
        ["11:32 release.replicas.max: must be at least min (3), not 2"],
    ),
    "no replicas": (
        added("release: {replicas: {min: 0}}"),
        ["11:24 release.replicas.min: must be at least 1, not 0"],
    ),
    "a port of the system": (
        added("release: {port: 80}"),
        ["11:13 release.port: must be at least 1024, not 80"],
    ),
    "unknown strategy": (
        added("release: {strategy: rolling}"),
        ["11:13 release.strategy: must be 'blue_green' or 'canary', not 'rolling'"],
    ),
    "steps that fall": (
        added("release: {canary: {steps: [50, 25]}}"),
        [
            "11:22 release.canary.steps: must rise from step to step, such as [5, 25, 50], "
            "not a list"
        ],
    ),
    "a step to all": (
        added("release: {canary: {steps: [100]}}"),
        ["11:30 release.canary.steps.0: must be at most 99, not 100"],
    ),
    "unknown severity": (
        added("security: {block_on: grave}"),
        [
            "11:14 security.block_on: must be 'critical', 'high', 'medium', 'low' or 'none', "
            "not 'grave'"
        ],
    ),
    "finding that nobody may accept": (
        added("security: {accept: [{kind: pickle, reason: it is ours}]}"),
        [f"11:24 security.accept.0.kind: must be {KINDS}, not 'pickle'"],
    ),
    "finding accepted without a reason": (
        added("security: {accept: [{kind: no lock, reason: ''}]}"),
        ["11:39 security.accept.0.reason: must not be empty"],
    ),
    "schedule is no cron": (
        added("monitor: {schedule: nightly}"),
        [
            "11:13 monitor.schedule: must be a cron expression of five fields such as "
            "'0 2 * * *', not 'nightly'"
        ],
    ),
    "schedule is out of bounds": (
        added('monitor: {schedule: "0 25 * * *"}'),
        [
            "11:13 monitor.schedule: must be a cron expression of five fields such as "
            "'0 2 * * *', not '0 25 * * *'"
        ],
    ),
    "unknown time zone": (
        added("monitor: {timezone: Mars/Olympus}"),
        ["11:13 monitor.timezone: must be a time zone such as 'Europe/Paris', not 'Mars/Olympus'"],
    ),
    "a day that is in no calendar": (
        added("monitor: {start: 2026-02-30}"),
        ["11:13 monitor.start: must be a date such as 2026-01-31, not '2026-02-30'"],
    ),
    "labels from two places": (
        added("monitor: {labels: {csv: a.csv, python: 'a:b'}}"),
        [
            "11:13 monitor.labels: exactly one of csv, parquet, sql, python is needed, "
            "not csv and python"
        ],
    ),
    "an owner that is nobody": (
        added('owners: ["team:risk", alice]'),
        ["11:25 owners.1: must be an e-mail address or team:NAME, not 'alice'"],
    ),
    "an error that may grow by fifteen": (
        swapped("task: binary_classification", "task: regression")
        + "  gates: [{metric: rmse, within_champion: 3}]\n"
        + "  react: {rollback: {drop: 15}}\n",
        [
            "11:26 gates.0.within_champion: must be a share of the rmse before, such as 0.1, not 3",
            "12:22 react.rollback.drop: must be a share of the rmse before, such as 0.1, not 15",
        ],
    ),
    "unknown modes": (
        added("react: {rollback: {mode: auto, drop: 0}, retrain: {on: always}}"),
        [
            "11:22 react.rollback.mode: must be 'observe', 'recommend' or 'automatic', not 'auto'",
            "11:34 react.rollback.drop: must be greater than 0, not 0",
            "11:54 react.retrain.on: must be 'never', 'degradation' or 'drift', not 'always'",
        ],
    ),
    "many mistakes at once, in the order of the file": (
        """\
type: mlops_pipelines.MonitoredModel
attributes:
  name: Churn
  task: regression
  data: {source: {python: load}, target: ""}
  gates: [{metric: roc_auc, at_least: 0.9}]
  monitor: {schedule: "* * *", min_rows: 1}
""",
        [
            "2:1 estimator: is required, and missing",
            "3:3 name: must be lower-case letters, digits and underscores, a letter first, "
            "not 'Churn'",
            "5:19 data.source.python: must be module:attribute, such as "
            "'sklearn.datasets:load_wine', not 'load'",
            "5:34 data.target: must not be empty",
            "6:12 gates.0.metric: must be one of mae, rmse, r2 for regression, not 'roc_auc'",
            "7:13 monitor.schedule: must be a cron expression of five fields such as "
            "'0 2 * * *', not '* * *'",
            "7:32 monitor.min_rows: must be at least 2, not 1",
        ],
    ),
    "a key given twice": (
        added("gates: []\ndescription: a\ngates: []"),
        ["13:3 is not YAML: 'gates' is given twice, first in line 11"],
    ),
    "a tab": (
        SOUND + "\tgates: []\n",
        ["11:1 is not YAML: a tab; indent with spaces"],
    ),
    "a second colon": (
        added("description: churn: who leaves"),
        ["11:21 is not YAML: a second ':' in one line; quote the text that has it"],
    ),
    "indentation that fits nothing": (
        SOUND + " gates: []\n",
        ["11:2 is not YAML: the indentation does not fit the lines above"],
    ),
    "a bracket that is not closed": (
        added("owners: [a@b.org"),
        ["12:1 is not YAML: expected ',' or ']', but got '<stream end>'"],
    ),
    "a template in the place of a value": (
        swapped("churned", "{{ env.TARGET }}"),
        ["8:14 is not YAML: a key is a mapping or a list; quote what starts with { or ["],
    ),
    "a Python object": (
        swapped("churned", "!!python/object:os.system {}"),
        [
            "8:13 is not YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object:os.system'"
        ],
    ),
    "a value that is not its tag": (
        swapped("churned", "!!int x"),
        ["8:13 is not YAML: a value cannot be read as int"],
    ),
    "an alias to itself": (
        added("owners: &o [*o]"),
        ["11:11 is not YAML: an alias refers to what contains it"],
    ),
    "an unknown alias": (
        added("owners: *team"),
        ["11:11 is not YAML: found undefined alias 'team'"],
    ),
    "a control character": (
        SOUND + "  description: a\x07b\n",
        ["11:17 is not YAML: the character U+0007 is not allowed"],
    ),
    "an empty file": (
        "",
        [
            "1:1 is empty; type: mlops_pipelines.MonitoredModel and attributes are expected",
        ],
    ),
    "nothing but a comment": (
        "# later\n",
        [
            "1:1 is empty; type: mlops_pipelines.MonitoredModel and attributes are expected",
        ],
    ),
    "a list at the top": (
        "- type: mlops_pipelines.MonitoredModel\n",
        ["1:1 must be a mapping with type and attributes, not a list"],
    ),
    "text at the top": (
        "churn\n",
        ["1:1 must be a mapping with type and attributes, not 'churn'"],
    ),
    "no type": (
        SOUND.partition("\n")[2],
        ["2:1 type: is required, and missing; mlops_pipelines.MonitoredModel is expected"],
    ),
    "a type that is a number": (
        swapped("mlops_pipelines.MonitoredModel", "3"),
        ["1:1 type: must be mlops_pipelines.MonitoredModel, not 3"],
    ),
    "a misspelt type": (
        swapped("MonitoredModel", "MonitredModel"),
        ["1:1 type: must be mlops_pipelines.MonitoredModel, not 'mlops_pipelines.MonitredModel'"],
    ),
    "a misspelt module": (
        swapped("mlops_pipelines", "mlops_pipeline"),
        ["1:1 type: must be mlops_pipelines.MonitoredModel, not 'mlops_pipeline.MonitoredModel'"],
    ),
    "a type of no installed module": (
        swapped("mlops_pipelines.MonitoredModel", "acme.Widget"),
        [
            "1:1 type: 'acme.Widget' is of no installed module; a monitored model is "
            "mlops_pipelines.MonitoredModel"
        ],
    ),
    "a misspelt attributes": (
        swapped("attributes", "atributes"),
        [
            "1:1 name: is required, and missing",
            "1:1 task: is required, and missing",
            "1:1 data: is required, and missing",
            "1:1 estimator: is required, and missing",
            "3:1 atributes: is not a field; did you mean 'attributes'? allowed: type, "
            "attributes, template_vars_module, requirements, post_processing",
        ],
    ),
}


def mistakes_of(text: str | bytes, folder: Path) -> list[str]:
    file = folder / "assets" / "churn" / "defs.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    try:
        read_declarations(folder, file)
    except DeclarationError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_declaration_says_what_is_wrong_where(name: str, tmp_path: Path) -> None:
    text, expected = BROKEN[name]

    found = mistakes_of(text, tmp_path)

    assert found == [f"assets/churn/defs.yaml:{line}" for line in expected]


def test_the_sound_declaration_of_the_table_is_sound(tmp_path: Path) -> None:
    assert mistakes_of(SOUND, tmp_path) == []


def test_text_in_another_encoding_is_told_by_its_byte(tmp_path: Path) -> None:
    text = SOUND.encode() + "  description: caf\u00e9\n".encode("latin-1")

    assert mistakes_of(text, tmp_path) == [
        "assets/churn/defs.yaml:11:19 is not UTF-8: found byte 0xe9; save the file as UTF-8"
    ]


def test_a_folder_in_the_place_of_the_file_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "assets" / "churn" / "defs.yaml"
    file.mkdir(parents=True)

    with pytest.raises(DeclarationError) as caught:
        read_declarations(tmp_path, file)

    assert str(caught.value) == "assets/churn/defs.yaml:1:1 cannot be read: Is a directory"


def test_values_are_read_as_yaml_1_2_reads_them(tmp_path: Path) -> None:
    text = added(
        """
        monitor: {start: 2025-06-01}
        react: {retrain: {on: drift}}
        """
    ).replace(
        'python: "sklearn.linear_model:LogisticRegression"',
        'python: "a:b"\n    params: {C: 1e-3, tol: 1E5, n: 010, x: 0x1F, o: 0o17, yes: no, '
        "t: 12:30, b: True, e: ~, f: -.inf, w: {0: 1, 1: 20}}",
    )
    file = tmp_path / "assets" / "churn" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)

    (declared,) = read_declarations(tmp_path, file)

    assert declared.spec.estimator.params == {
        "C": 0.001,
        "tol": 1e5,
        "n": 10,
        "x": 31,
        "o": 15,
        "yes": "no",
        "t": "12:30",
        "b": True,
        "e": None,
        "f": float("-inf"),
        "w": {0: 1, 1: 20},
    }
    assert declared.spec.react.retrain.on == "drift"
    assert declared.spec.monitor.start.isoformat() == "2025-06-01"


def test_anchors_and_merge_keys_are_followed(tmp_path: Path) -> None:
    text = added(
        """
        gates:
          - &gate {metric: f1, at_least: 0.5}
          - {<<: *gate, metric: accuracy}
        """
    )
    file = tmp_path / "assets" / "churn" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)

    (declared,) = read_declarations(tmp_path, file)

    assert [(gate.metric, gate.at_least) for gate in declared.spec.gates] == [
        ("f1", 0.5),
        ("accuracy", 0.5),
    ]


def test_a_file_may_declare_several_models_and_keeps_the_sound_ones(project_root: Path) -> None:
    folder = project_root / "assets" / "pair"
    folder.mkdir()
    second = SOUND.replace("name: churn", "name: Second")
    third = SOUND.replace("name: churn", "name: third").replace("churned", "7")
    (folder / "defs.yaml").write_text(f"{SOUND}---\n{second}---\n{third}")

    project = Project.find()

    assert list(project.models) == ["churn"]
    assert [(each.name, each.document, each.contained) for each in project.broken] == [
        ("pair", 1, True),
        ("third", 2, True),
    ]
    assert [str(mistake) for each in project.broken for mistake in each.mistakes] == [
        "assets/pair/defs.yaml:15:3 name: must be lower-case letters, digits and underscores, "
        "a letter first, not 'Second'",
        "assets/pair/defs.yaml:30:5 data.target: must be text, not 7",
    ]


def test_a_name_belongs_to_the_first_file_that_has_it(project_root: Path) -> None:
    for folder in ("one", "two"):
        (project_root / "assets" / folder).mkdir()
        (project_root / "assets" / folder / "defs.yaml").write_text(SOUND)

    project = Project.find()

    assert project.models["churn"].file == "assets/one/defs.yaml"
    assert [str(mistake) for each in project.broken for mistake in each.mistakes] == [
        "assets/two/defs.yaml:4:3 name: 'churn' is already declared at assets/one/defs.yaml:4"
    ]


def test_a_broken_model_is_told_by_its_name_and_an_unknown_one_by_the_known(
    project_root: Path,
) -> None:
    for name, text in (("churn", SOUND), ("fraud", SOUND.replace("churn\n", "fraud\n") + "  x: 1")):
        (project_root / "assets" / name).mkdir()
        (project_root / "assets" / name / "defs.yaml").write_text(text)
    project = Project.find()

    assert project.model("churn").spec.name == "churn"
    with pytest.raises(DeclarationError, match=r"assets/fraud/defs\.yaml:11:3 x: is not a field"):
        project.model("fraud")
    with pytest.raises(NotFoundError) as caught:
        project.model("chrun")
    assert str(caught.value) == ("no model 'chrun' is declared under assets/; there are: churn")


def test_other_components_and_hidden_folders_are_not_declarations(project_root: Path) -> None:
    (project_root / "assets" / "team").mkdir()
    (project_root / "assets" / "team" / "defs.yaml").write_text("type: dagster.DefsFolderComponent")
    for hidden in (".git", "__pycache__"):
        (project_root / "assets" / hidden).mkdir()
        (project_root / "assets" / hidden / "defs.yaml").write_text("not: a declaration")

    project = Project.find()

    assert (project.models, project.broken) == ({}, [])


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(
        ["mlops_pipelines.MonitoredModel", "csv", "a:b", "regression", "rmse", "{{x}}"]
    )
)
FIELD_NAMES = st.sampled_from(
    sorted(
        {"type", "attributes", "env", "csv", "sql", "url", "metric", "at_least", "min", "max"}
        | set(ModelSpec.model_fields)
        | {"source", "target", "positive", "drop", "params", "rollback", "replicas", "schedule"}
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(FIELD_NAMES, inner, max_size=5)
        | st.dictionaries(SCALARS, inner, max_size=2)
    ),
    max_leaves=12,
)
DECLARATIONS = st.fixed_dictionaries(
    {"type": st.just("mlops_pipelines.MonitoredModel")},
    optional={"attributes": st.dictionaries(FIELD_NAMES, VALUES, max_size=8)},
)


def assert_read_or_refused(folder: Path, file: Path) -> None:
    try:
        found: list[str] = [declared.spec.name for declared in read_declarations(folder, file)]
    except DeclarationError as error:
        found = [str(mistake) for mistake in error.mistakes]
        assert found
    assert all(len(line.splitlines()) == 1 for line in found)


@settings(max_examples=150, deadline=None)
@given(value=VALUES | DECLARATIONS)
def test_any_yaml_value_is_read_or_refused_with_mistakes(value: Any, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    file = folder / "assets" / "m" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")

    assert_read_or_refused(folder, file)


@settings(max_examples=150, deadline=None)
@given(text=st.text() | st.text(alphabet="{}[]:,-&*!|>'\"\n\t #ab1.e<~%@`?"), data=st.binary())
def test_any_bytes_are_read_or_refused_with_mistakes(
    text: str, data: bytes, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("any")
    file = folder / "assets" / "m" / "defs.yaml"
    file.parent.mkdir(parents=True)
    for content in (text.encode("utf-8", "surrogatepass"), data):
        file.write_bytes(content)
        assert_read_or_refused(folder, file)
