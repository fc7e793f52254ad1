from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.errors import DataError, MlopsError
from mlops_pipelines.new import Guess, write_declaration
from mlops_pipelines.project import read_declarations
from mlops_pipelines.spec import ModelSpec
from mlops_pipelines.tasks import GATE_METRIC

ROWS = 120
RANDOM = np.random.default_rng(0)
DAYS = pd.date_range("2025-03-01", periods=ROWS, freq="D")


def written(root: Path, frame: pd.DataFrame, target: str, **more: Any) -> tuple[ModelSpec, Guess]:
    """The declaration that is written for `frame`, as it is read back."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    data = root / "data" / "rows.parquet"
    frame.to_parquet(data)
    path, guess = write_declaration(root, "churn", data, target, **more)
    (declared,) = read_declarations(root, path)
    return declared.spec, guess


BASE = {
    "age": RANDOM.integers(18, 90, ROWS),
    "income": RANDOM.normal(3000, 500, ROWS),
    "site": RANDOM.choice(["a", "b", "c"], ROWS),
}
TARGETS = {
    "two numbers": (RANDOM.integers(0, 2, ROWS), "binary_classification"),
    "two texts": (RANDOM.choice(["yes", "no"], ROWS), "binary_classification"),
    "true and false": (RANDOM.integers(0, 2, ROWS).astype(bool), "binary_classification"),
    "three texts": (RANDOM.choice(["x", "y", "z"], ROWS), "multiclass_classification"),
    "ten whole numbers": (np.arange(ROWS) % 10, "multiclass_classification"),
    "twenty-one whole numbers": (np.arange(ROWS) % 21, "regression"),
    "fractions": (RANDOM.normal(0, 1, ROWS), "regression"),
    "three fractions": (np.arange(ROWS) % 3 / 4, "regression"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_task_follows_from_the_target(name: str, tmp_path: Path) -> None:
    target, task = TARGETS[name]

    spec, guess = written(tmp_path, pd.DataFrame({**BASE, "y": target}), "y")

    assert (spec.task, guess.task) == (task, task)
    assert spec.data.target == "y"
    assert spec.data.source.parquet == "data/rows.parquet"
    assert spec.data.drop == ()
    assert spec.data.event_time is None
    assert [(gate.metric, gate.within_champion) for gate in spec.all_gates] == [
        (GATE_METRIC[task], 0.01)
    ]


COLUMNS = {
    "times": ("seen", DAYS, {"event_time": "seen", "first_day": "2025-03-01"}),
    "dates as text": ("day", DAYS.strftime("%Y-%m-%d"), {"event_time": "day"}),
    "dates with a zone": ("at", DAYS.tz_localize("UTC"), {"event_time": "at"}),
    "a counter": ("id", np.arange(ROWS), {"drop": ("id",)}),
    "identifiers": ("uuid", [f"u-{n * 7919}" for n in range(ROWS)], {"drop": ("uuid",)}),
    "nothing": ("empty", [None] * ROWS, {"drop": ("empty",)}),
    "a name of the log's": ("score", RANDOM.normal(0, 1, ROWS), {"drop": ("score",)}),
    "one value": ("country", ["DE"] * ROWS, {"drop": ("country",)}),
    "a number in every row": ("amount", RANDOM.normal(0, 1, ROWS), {"drop": ()}),
    "whole numbers in no order": ("zip", RANDOM.permutation(ROWS), {"drop": ()}),
    "a year": ("year", ["2025"] * 60 + ["2026"] * 60, {"event_time": None, "drop": ()}),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_that_are_times_or_of_no_use_are_seen(name: str, tmp_path: Path) -> None:
    column, values, expected = COLUMNS[name]
    frame = pd.DataFrame({**BASE, column: values, "y": np.arange(ROWS) % 2})

    spec, guess = written(tmp_path, frame, "y")

    assert {field: getattr(guess, field) for field in expected} == expected
    assert spec.data.event_time == guess.event_time
    assert spec.data.drop == guess.drop
    if guess.first_day:
        assert spec.monitor.start.isoformat() == guess.first_day
    assert any(column in note for note in guess.notes) == bool(guess.event_time or guess.drop)


def test_the_error_of_a_regression_may_rise_by_a_share(tmp_path: Path) -> None:
    spec, _ = written(tmp_path, pd.DataFrame({**BASE, "y": np.arange(ROWS) * 1000.5}), "y")

    assert (spec.main_metric, spec.main_drop) == ("rmse", 0.2)


def test_only_one_column_is_the_time(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": DAYS, "b": DAYS, "x": BASE["age"], "y": np.arange(ROWS) % 2})

    spec, _ = written(tmp_path, frame, "y")

    assert (spec.data.event_time, spec.data.drop) == ("a", ("b",))


def test_what_is_asked_to_be_dropped_is_dropped(tmp_path: Path) -> None:
    spec, _ = written(tmp_path, pd.DataFrame({**BASE, "y": BASE["age"] > 40}), "y", drop=("age",))

    assert spec.data.drop == ("age",)


def test_a_csv_outside_of_the_project_is_named_by_its_whole_path(tmp_path: Path) -> None:
    root, data = tmp_path / "project", tmp_path / "rows: all #1.csv"
    root.mkdir()
    pd.DataFrame({**BASE, "y": BASE["age"] > 40}).to_csv(data, index=False)

    path, _ = write_declaration(root, "churn", data, "y")

    (declared,) = read_declarations(root, path)
    assert declared.spec.data.source.csv == str(data)


@settings(max_examples=40, deadline=None)
@given(
    target=st.sampled_from(
        ["no", "1e5", "0o7", "a: b", "{x}", "#", " y", "on", "~", "2025-01-01", "\u00e9"]
    )
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
)
def test_a_column_may_have_any_name(target: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    frame = pd.DataFrame({"x1": BASE["age"], f"{target}?": DAYS, target: np.arange(ROWS) % 2})

    spec, _ = written(tmp_path_factory.mktemp("p"), frame, target)

    assert spec.data.target == target
    assert spec.data.event_time == f"{target}?"


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a target that is nearly there": (
        {"target": "churnd"},
        "there is no column 'churnd'; did you mean 'churned'? columns: age, churned",
    ),
    "a target that is not there": (
        {"target": "xyz"},
        "there is no column 'xyz'; columns: age, churned",
    ),
    "a dropped column that is not there": (
        {"drop": ("agge",)},
        "there is no column 'agge'; did you mean 'age'? columns: age, churned",
    ),
    "a name with a capital": (
        {"name": "Churn"},
        "a model's name is lower-case letters, digits and underscores, not 'Churn'",
    ),
    "a file that is not there": (
        {"data": "none.csv"},
        "{root}/none.csv: there is no such file",
    ),
    "a file of another kind": (
        {"data": "rows.xlsx"},
        "{root}/rows.xlsx: a .csv or .parquet file was expected, not .xlsx",
    ),
    "a file that is not what its name says": (
        {"data": "rows.parquet"},
        r"{root}/rows.parquet is not parquet: .+",
    ),
    "a file without rows": ({"data": "header.csv"}, "{root}/header.csv has no rows"),
    "a file without anything": (
        {"data": "nothing.csv"},
        "{root}/nothing.csv is not csv: No columns to parse from file",
    ),
    "a target of one value": (
        {"data": "one.csv"},
        "target 'churned' has 1 value(s); two or more are needed",
    ),
    "rows without a label": (
        {"data": "some_given.csv"},
        "target 'churned' has 1 nulls in 3 rows; leave rows without a label out",
    ),
    "another separator": (
        {"data": "semicolons.csv"},
        "{root}/semicolons.csv: columns are separated by ';'; a comma was expected",
    ),
    "a target without a value": (
        {"data": "none_given.csv"},
        "target 'churned' has 0 value(s); two or more are needed",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(name: str, tmp_path: Path) -> None:
    given_, message = MISTAKES[name]
    files = {
        "rows.csv": "age,churned\n1,0\n2,1\n",
        "rows.xlsx": "",
        "rows.parquet": "age,churned\n",
        "header.csv": "age,churned\n",
        "nothing.csv": "",
        "one.csv": "age,churned\n1,0\n2,0\n",
        "none_given.csv": "age,churned\n1,\n2,\n",
        "some_given.csv": "age,churned\n1,0\n2,1\n3,\n",
        "semicolons.csv": "age;churned\n1;0\n2;1\n",
    }
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    asked = {"name": "churn", "data": "rows.csv", "target": "churned", "drop": (), **given_}

    with pytest.raises((DataError, MlopsError)) as caught:
        write_declaration(
            tmp_path, asked["name"], tmp_path / asked["data"], asked["target"], asked["drop"]
        )

    expected = message.replace("{root}", str(tmp_path))
    if "rows.parquet is" in message:
        assert re.fullmatch(expected, str(caught.value))
    else:
        assert str(caught.value) == expected
    assert not (tmp_path / "assets").exists()


def test_a_declaration_is_never_overwritten(tmp_path: Path) -> None:
    spec, _ = written(tmp_path, pd.DataFrame({**BASE, "y": np.arange(ROWS) % 2}), "y")
    before = (tmp_path / "assets" / "churn" / "defs.yaml").read_bytes()

    with pytest.raises(MlopsError) as caught:
        write_declaration(tmp_path, "churn", tmp_path / "data" / "rows.parquet", "age")

    assert str(caught.value) == (
        "assets/churn/defs.yaml exists already; edit it, or choose another name"
    )
    assert (tmp_path / "assets" / "churn" / "defs.yaml").read_bytes() == before
    assert spec.name == "churn"


def test_real_data_gives_declarations_that_fit(real_data: Path, tmp_path: Path) -> None:
    bikes, _ = write_declaration(
        tmp_path, "bikes", real_data / "bike_sharing.parquet", "cnt", ("casual", "registered")
    )
    bank, _ = write_declaration(tmp_path, "bank", real_data / "bank_marketing.parquet", "y")

    (bike_sharing,) = read_declarations(tmp_path, bikes)
    (bank_marketing,) = read_declarations(tmp_path, bank)
    assert (bike_sharing.spec.task, bike_sharing.spec.data.event_time) == (
        "regression",
        "event_time",
    )
    assert {"casual", "registered", "instant"} <= set(bike_sharing.spec.data.drop)
    assert bike_sharing.spec.monitor.start.isoformat() == "2011-01-01"
    assert (bank_marketing.spec.task, bank_marketing.spec.data.event_time) == (
        "binary_classification",
        "contact_month",
    )
    assert bank_marketing.spec.monitor.start.isoformat() == "2008-05-01"
