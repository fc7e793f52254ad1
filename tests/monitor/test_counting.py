"""Every engine counts what pandas counts, to the row."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.measure.profile import Column, Profile, profile_like, reference_profile
from mlops_pipelines.measure.window import Segments, segment_levels, window_like
from mlops_pipelines.monitor import tables
from mlops_pipelines.monitor.counting import count_parquet, count_table, expressions
from tests.conftest import require

TEXTS = ["a", "", "b'c", 'd"e', "f\\g", "h\ni", "ü", "日本", "😀", " a", "A", "%", "1", "1.0", None]
NUMBERS = [None, 0.0, -0.0, 0.1, 0.30000000000000004, 1.0, 1e16, -5.5, 1e-300, 1e300, 5e-324]


def rough(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)

    def pick(values: list[Any], kind: Any = object) -> pd.Series:
        return pd.Series([values[at] for at in rng.integers(len(values), size=n)], dtype=kind)

    return pd.DataFrame(
        {
            "model_version": pick([1, 1, 2], "int64"),
            "many": rng.normal(size=n),
            "few": pick([*NUMBERS, np.inf, -np.inf, np.nan], "float64"),
            "whole": pick([0, 1, 2**53 + 1, -7, 3], "int64"),
            "flag as number": pick([True, False, None]),
            "text as number": pick(["1", "2.5", "-3e2", "x", "", " 1", "inf", "1_0", None]),
            "text": pick(TEXTS),
            "flag": pick([True, False, None]),
            "code": pick([0, 1, 2, -9, 77], "int64"),
            "float code": pick([0.0, 1.0, 2.5, 1e16, np.nan, np.inf], "float64"),
            "site": pick(["north", "south", "O'Hare", "new", None]),
            "Site": pick([1.0, 2.0, np.nan, 9.0], "float64"),
            "prediction": pick([True, False], bool),
            "score": rng.random(n),
        }
    )


NUMERIC = ("many", "few", "whole", "flag as number", "text as number", "Site", "score")
WATCHED = [
    Column(name, "numeric" if name in NUMERIC else "categorical")
    for name in rough(1, 0).columns.drop("model_version")
]


def reference_of(frame: pd.DataFrame) -> Profile:
    known = frame[~frame["site"].isin(["new"]) & ~frame["code"].isin([77])]
    gone = Column("gone", "numeric"), Column("gone too", "categorical")
    wide = known.assign(**{"gone": 1.0, "gone too": "x"})
    return reference_profile(wide, [*WATCHED, *gone])


def counts(whole: Profile) -> tuple[int, list[tuple[Any, ...]]]:
    return whole.n, [(*column.bins, column.counts) for column in whole.columns]


def same(found: tuple[Profile, Segments], frame: pd.DataFrame, reference: Profile) -> None:
    levels = segment_levels(reference, ["site", "Site", "gone too"])
    window = window_like(frame, reference, "m", 1, "2026-01-01", "2026-01-02", levels)
    assert counts(found[0]) == counts(window.whole)
    for one, other in zip(found[0].columns, window.whole.columns, strict=True):
        assert one.total == pytest.approx(other.total, rel=1e-9, abs=1e-9)
    assert {name: {v: counts(p) for v, p in parts.items()} for name, parts in found[1].items()} == {
        name: {v: counts(p) for v, p in parts.items()} for name, parts in window.segments.items()
    }


def written(frame: pd.DataFrame, path: Path) -> Path:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    return path


@pytest.mark.parametrize("rows", [0, 1, 3000])
def test_the_embedded_engine_counts_as_pandas_does(rows: int, tmp_path: Path) -> None:
    reference = reference_of(rough(2000, 1))
    frame = rough(rows, 2)
    path = written(frame, tmp_path / "it's a day.parquet")
    levels = segment_levels(reference, ["site", "Site", "gone too"])
    assert levels["site"] == ("O'Hare", "north", "south") or set(levels["site"]) == {
        "O'Hare",
        "north",
        "south",
    }
    with duckdb.connect() as connection:
        for version in (1, 2, 3):
            found = count_parquet(connection, str(path), version, reference, levels)
            same(found, frame[frame["model_version"] == version], reference)


VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.floats(), st.sampled_from(NUMBERS)), max_size=30),
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=30),
    st.lists(st.one_of(st.none(), st.booleans()), max_size=30),
    st.lists(
        st.one_of(
            st.none(),
            st.text(st.characters(codec="utf-8"), max_size=3),
            st.from_regex(r"[+-]?[0-9]{0,2}[.]?[0-9]{0,2}([eE][+-]?[0-9]{0,3})?", fullmatch=True),
        ),
        max_size=30,
    ),
)


@settings(max_examples=40, deadline=None)
@given(before=VALUES, now=VALUES, kind=st.sampled_from(["numeric", "categorical"]))
def test_any_column_is_counted_as_pandas_counts_it(
    before: list[Any], now: list[Any], kind: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    reference = reference_profile(
        pd.DataFrame({"x": pd.Series(before, dtype=object)}), [Column("x", kind)]
    )
    table = pa.table(
        {"x": tables.array(now), "model_version": pa.array([1] * len(now), pa.int64())}
    )
    path = tmp_path_factory.mktemp("day") / "rows.parquet"
    pq.write_table(table, path)
    with duckdb.connect() as connection:
        whole, _ = count_parquet(connection, str(path), 1, reference)
    assert counts(whole) == counts(profile_like(tables.to_frame(table), reference))


def test_nan_is_missing_though_the_file_s_statistics_are_silent_of_it(tmp_path: Path) -> None:
    reference = reference_profile(pd.DataFrame({"x": [0.0, 1.0]}), [Column("x", "numeric")])
    table = pa.table({"x": pa.array([0.0, np.nan, 1.0]), "model_version": [1, 1, 1]})
    pq.write_table(table, tmp_path / "day.parquet")
    with duckdb.connect() as connection:
        whole, _ = count_parquet(connection, str(tmp_path / "day.parquet"), 1, reference)
    assert (whole.columns[0].counts, whole.columns[0].total) == ((0, 1, 1, 0, 1), 1.0)


def test_many_columns_are_asked_for_in_several_statements(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=400) for i in range(70)})
    reference = reference_profile(frame, [Column(name, "numeric") for name in frame])
    path = written(frame.assign(model_version=1), tmp_path / "day.parquet")
    with duckdb.connect() as connection:
        whole, _ = count_parquet(connection, str(path), 1, reference)
    assert counts(whole) == counts(reference)


def test_a_level_seen_once_never_leaves_the_rows(tmp_path: Path) -> None:
    names = pd.DataFrame({"name": [f"person {i}" for i in range(500)]})
    reference = reference_profile(names, [Column("name", "categorical")])
    path = written(names.assign(model_version=1), tmp_path / "day.parquet")
    with duckdb.connect() as connection:
        whole, segments = count_parquet(
            connection, str(path), 1, reference, segment_levels(reference, ["name"])
        )
    assert (whole.columns[0].levels, whole.columns[0].counts, segments) == ((), (500, 0), {})


def test_postgres_counts_as_pandas_does(postgres_url: str) -> None:
    import ibis

    reference, frame = reference_of(rough(2000, 1)), rough(3000, 2)
    connection = ibis.connect(postgres_url)
    try:
        connection.create_table("answered", pa.Table.from_pandas(frame, preserve_index=False))
        found = count_table(
            connection.table("answered"),
            1,
            reference,
            segment_levels(reference, ["site", "Site", "gone too"]),
        )
    finally:
        connection.disconnect()
    same(found, frame[frame["model_version"] == 1], reference)


@pytest.fixture
def spark() -> Iterator[Any]:
    if shutil.which("java") is None:
        require("java", "there is no java, which Spark runs on")
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        # Compiling code for a query takes longer than running it on so few rows.
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore")
def test_spark_counts_as_pandas_does(spark: Any, tmp_path: Path) -> None:
    import ibis

    # Spark, as many an engine, takes two names that differ in case for one.
    reference = reference_of(rough(2000, 1))
    columns = [column for column in reference.columns if column.name != "Site"]
    reference = replace(reference, columns=tuple(columns))
    frame = rough(3000, 2).drop(columns="Site")
    spark.read.parquet(str(written(frame, tmp_path / "day.parquet"))).createTempView("answered")
    rows = ibis.pyspark.connect(spark).table("answered")
    levels = segment_levels(reference, ["site", "gone too"])
    same(count_table(rows, 1, reference, levels), frame[frame["model_version"] == 1], reference)


@pytest.mark.parametrize(
    "dialect", ["bigquery", "snowflake", "clickhouse", "trino", "databricks", "athena"]
)
def test_other_engines_are_asked_in_their_own_sql(dialect: str) -> None:
    import ibis

    frame = rough(500, 1)
    reference = reference_of(frame)
    schema = pa.Table.from_pandas(frame, preserve_index=False).schema
    rows = ibis.table(ibis.Schema.from_pyarrow(schema), name="answered")
    names = {name: name for name in rows.columns}
    levels = tuple(segment_levels(reference, ["site"]).items())
    for each in expressions(rows, names, 1, reference, levels):
        sql = str(ibis.to_sql(each, dialect=dialect))
        assert sql.count("GROUP BY") == (len(WATCHED) + 1) // 2
        assert "O'Hare" not in sql.replace("\\'", "").replace("''", "")
