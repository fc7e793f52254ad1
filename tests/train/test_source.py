"""Rows from CSV, Parquet, SQL and functions, and the one line each fault gives."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops_pipelines.data_spec import Source
from mlops_pipelines.errors import DataError
from mlops_pipelines.train.source import describe, load_rows

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]})

FUNCTIONS = """
import pandas as pd

def good(n=2):
    return pd.DataFrame({"a": range(n)})

def nothing():
    return [1, 2]

def fails():
    raise KeyError("secret-row-value")

constant = 3
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "assets" / "demo"
    folder.mkdir(parents=True)
    (folder / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "data").mkdir()
    FRAME.to_csv(tmp_path / "data" / "one.csv", index=False)
    FRAME.to_csv(tmp_path / "data" / "two.csv", index=False)
    FRAME.to_parquet(tmp_path / "data" / "one.parquet")
    FRAME.rename(columns={"b": "c"}).to_csv(tmp_path / "data" / "xother.csv", index=False)
    (tmp_path / "data" / "empty.csv").write_text("")
    (tmp_path / "data" / "broken.parquet").write_bytes(b"secret-row-value")
    with sqlite3.connect(tmp_path / "data" / "rows.db") as database:
        FRAME.to_sql("t", database, index=False)
    database.close()
    return tmp_path


def load(root: Path, **source: Any) -> pd.DataFrame:
    return load_rows(Source.model_validate(source), root, root / "assets" / "demo")


@pytest.mark.parametrize(
    "source",
    [
        {"csv": "data/one.csv"},
        {"parquet": "data/one.parquet"},
        {"parquet": "data/o*.parquet"},
        {"sql": {"url": "sqlite:///data/rows.db", "query": "SELECT a, b FROM t ORDER BY a"}},
    ],
)
def test_each_source_gives_the_same_rows(root: Path, source: dict[str, Any]) -> None:
    found = load(root, **source)
    assert found["a"].tolist() == [1, 2, 3]
    assert found["b"].fillna("null").tolist() == ["x", "y", "null"]


def test_a_glob_gives_all_files_in_the_order_of_their_names(root: Path) -> None:
    assert load(root, csv="data/[ot]*.csv")["a"].tolist() == [1, 2, 3, 1, 2, 3]


def test_a_function_beside_the_declaration_is_called_with_its_params(root: Path) -> None:
    assert len(load(root, python="functions:good", params={"n": 5})) == 5


def test_a_bunch_of_scikit_learn_becomes_its_frame(root: Path) -> None:
    found = load(root, python="sklearn.datasets:load_iris")
    assert found.shape == (150, 5)
    assert "target" in found


def test_postgresql_gives_rows(root: Path, postgres_url: str) -> None:
    query = "SELECT * FROM (VALUES (1, 1.5, 'x'), (2, NULL, NULL)) AS t (a, b, c) ORDER BY a"
    found = load(root, sql={"url": postgres_url, "query": query})
    assert found["a"].tolist() == [1, 2]
    assert float(found["b"].iloc[0]) == 1.5


FAULTS = [
    ({"csv": "data/none.csv"}, r"csv data/none.csv: no such file under .*; put the file there, or"),
    ({"csv": "data/*.csv"}, r"csv data/\w+.csv: "),
    (
        {"csv": "data/[ox]*.csv"},
        r"csv data/xother.csv: its columns differ in b, c from those of one",
    ),
    ({"csv": "data/empty.csv"}, "csv data/empty.csv: the file is empty; a header was expected"),
    ({"parquet": "data/broken.parquet"}, r"parquet data/broken.parquet: cannot be read as parquet"),
    ({"python": "functions:none"}, "functions:none: module 'functions' has no 'none'"),
    ({"python": "nowhere:none"}, r"nowhere:none: module 'nowhere' cannot be imported"),
    ({"python": "functions:constant"}, "is a int; a function was expected"),
    ({"python": "functions:nothing"}, "returned a list; a pandas data frame was expected"),
    ({"python": "functions:fails"}, r"functions:fails: raised KeyError at functions.py:\d+"),
    (
        {"python": "functions:good", "params": {"m": 1}},
        "python functions:good: raised TypeError",
    ),
    (
        {"sql": {"url": "sqlite:///data/none.db", "query": "SELECT 1"}},
        "sql sqlite:///data/none.db: no such file under",
    ),
    (
        {"sql": {"url": "sqlite:///data/rows.db", "query": "SELECT * FROM none"}},
        r"sql sqlite:///.*rows.db: OperationalError: no such table: none; check",
    ),
    ({"sql": {"url": "no url", "query": "SELECT 1"}}, "sql: the url is not one; expected dialect"),
    (
        {"sql": {"url": "oracle+none://u:hush@h/d", "query": "SELECT 1"}},
        "sql oracle.none://h/d: the driver of oracle.none is not installed",
    ),
    (
        {"sql": {"url": "postgresql://u:hush@127.0.0.1:1/d", "query": "SELECT 1"}},
        "sql postgresql.psycopg2://127.0.0.1:1/d: OperationalError: .*check that the",
    ),
]


@pytest.mark.parametrize(("source", "message"), FAULTS)
def test_each_fault_is_one_line_without_values_or_passwords(
    root: Path, source: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(root, **source)
    line = str(caught.value)
    assert re.search(message, line), line
    assert "\n" not in line
    assert "secret-row-value" not in line
    assert "hush" not in line


def test_a_description_shows_no_secret() -> None:
    url = "postgresql://user:hush@db:5432/shop?password=hush"
    assert describe(Source.model_validate({"sql": {"url": url, "query": "SELECT\n 1"}})) == (
        "sql postgresql+psycopg2://db:5432/shop: SELECT 1"
    )
    named = Source.model_validate({"sql": {"url": {"env": "SHOP_URL"}, "query": "SELECT 1"}})
    assert describe(named) == "sql $SHOP_URL: SELECT 1"
    assert describe(Source.model_validate({"csv": "a/*.csv"})) == "csv a/*.csv"
