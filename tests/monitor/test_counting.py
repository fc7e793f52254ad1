"""Every engine counts what pandas counts, to the row."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_pipelines.measure.profile import Column, Profile, profile_like, reference_profile
from mlops_pipelines.measure.window import Segments, segment_levels, window_like
from mlops_pipelines.monitor import parquet_counts, tables
from mlops_pipelines.monitor.counting import count_table, expressions
from mlops_pipelines.monitor.parquet_counts import answered, count_parquet
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


def written(frame: pd.DataFrame, path: Path, **how: Any) -> Path:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, **how)
    return path


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rows", [0, 1, 3000])
def test_a_file_is_counted_as_pandas_does(
    rows: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_counts, "ROWS_AT_ONCE", 700)
    monkeypatch.setattr(parquet_counts, "COLUMNS_AT_ONCE", 2)
    reference = reference_of(rough(2000, 1))
    frame = rough(rows, 2)
    path = written(frame, tmp_path / "it's a day.parquet", row_group_size=1000)
    levels = segment_levels(reference, ["site", "Site", "gone too"])
    assert levels["site"] == ("O'Hare", "north", "south") or set(levels["site"]) == {
        "O'Hare",
        "north",
        "south",
    }
    found = count_parquet(str(path), dict.fromkeys((1, 2, 3), (reference, levels)), threads)
    for version in (1, 2, 3):
        same(found[version], frame[frame["model_version"] == version], reference)
    assert answered(str(path)) == sorted(frame["model_version"].unique())


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


@pytest.mark.filterwarnings("ignore:fetch_arrow_table")
@settings(max_examples=40, deadline=None)
@given(before=VALUES, now=VALUES, kind=st.sampled_from(["numeric", "categorical"]))
def test_any_column_is_counted_as_pandas_counts_it(
    before: list[Any],
    now: list[Any],
    kind: Any,
    duck: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    reference = reference_profile(
        pd.DataFrame({"x": pd.Series(before, dtype=object)}), [Column("x", kind)]
    )
    table = pa.table(
        {"x": tables.array(now), "model_version": pa.array([1] * len(now), pa.int64())}
    )
    path = tmp_path_factory.mktemp("day") / "rows.parquet"
    pq.write_table(table, path)
    expected = counts(profile_like(tables.to_frame(table), reference))
    assert counts(of_file(path, reference)) == expected
    assert counts(of_duckdb(duck, path, reference)[0]) == expected


def of_file(path: Path, reference: Profile) -> Profile:
    return count_parquet(str(path), {1: (reference, {})})[1][0]


@pytest.fixture(scope="module")
def duck() -> Iterator[Any]:
    connection = ibis.duckdb.connect()
    yield connection
    connection.disconnect()


def of_duckdb(
    duck: Any, path: Path, reference: Profile, levels: Any = None
) -> tuple[Profile, Segments]:
    duck.raw_sql(f"CREATE OR REPLACE TABLE answered AS SELECT * FROM read_parquet('{path}')")
    return count_table(duck.table("answered"), 1, reference, levels)


@pytest.mark.filterwarnings("ignore:fetch_arrow_table")
def test_nan_is_missing_though_the_file_s_statistics_are_silent_of_it(
    duck: Any, tmp_path: Path
) -> None:
    reference = reference_profile(pd.DataFrame({"x": [0.0, 1.0]}), [Column("x", "numeric")])
    table = pa.table({"x": pa.array([0.0, np.nan, 1.0]), "model_version": [1, 1, 1]})
    path = tmp_path / "day.parquet"
    pq.write_table(table, path)
    for whole in (of_file(path, reference), of_duckdb(duck, path, reference)[0]):
        assert (whole.columns[0].counts, whole.columns[0].total) == ((0, 1, 1, 0, 1), 1.0)


@pytest.mark.filterwarnings("ignore:fetch_arrow_table")
def test_many_columns_are_counted_in_several_passes(duck: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({f"x.{i}": rng.normal(size=400) for i in range(70)})
    reference = reference_profile(frame, [Column(name, "numeric") for name in frame])
    path = written(frame.assign(model_version=1), tmp_path / "day.parquet")
    assert counts(of_file(path, reference)) == counts(reference)
    assert counts(of_duckdb(duck, path, reference)[0]) == counts(reference)


def test_any_type_of_arrow_is_counted(tmp_path: Path) -> None:
    kinds = {
        "decimal": pa.array([Decimal("1.50"), Decimal("2.00"), None], pa.decimal128(9, 2)),
        "half": pa.array([1.5, 2.0, None], pa.float32()),
        "small": pa.array([1, 2, None], pa.int8()),
        "large text": pa.array(["1.5", "2", None], pa.large_string()),
        "dictionary": pa.array(["1.5", "2", None]).dictionary_encode(),
        "date": pa.array([date(2026, 1, 1), date(2026, 1, 2), None]),
        "list": pa.array([[1], [2], None], pa.list_(pa.int64())),
        "nothing": pa.nulls(3),
    }
    table = pa.table(kinds | {"model_version": pa.array([1, 1, 1])})
    pq.write_table(table, tmp_path / "day.parquet")
    known = pd.DataFrame({name: [1.5, 1.5, 2.0] for name in kinds})
    found = of_file(
        tmp_path / "day.parquet",
        reference_profile(known, [Column(name, "numeric") for name in kinds]),
    )
    number, none = (0, 1, 1, 0, 1), (0, 0, 0, 0, 3)
    assert [each.counts for each in found.columns] == [
        *[number] * 2,
        (1, 0, 1, 0, 1),
        *[number] * 2,
        *[none] * 3,
    ]
    known = pd.DataFrame({name: ["1.5", "2", "2026-01-01", "[1]"] for name in kinds})
    found = of_file(
        tmp_path / "day.parquet",
        reference_profile(known, [Column(name, "categorical") for name in kinds]),
    )
    assert [dict(zip(each.cells, each.counts, strict=True)) for each in found.columns] == [
        {cell: seen.get(cell, 0) for cell in found.columns[0].cells}
        for seen in (
            *[{"'1.5'": 1, "'2'": 1, "missing": 1}] * 2,
            {"'2'": 1, "other levels": 1, "missing": 1},
            *[{"'1.5'": 1, "'2'": 1, "missing": 1}] * 2,
            {"'2026-01-01'": 1, "other levels": 1, "missing": 1},
            {"'[1]'": 1, "other levels": 1, "missing": 1},
            {"missing": 3},
        )
    ]


def test_a_level_seen_once_never_leaves_the_rows(tmp_path: Path) -> None:
    names = pd.DataFrame({"name": [f"person {i}" for i in range(500)]})
    reference = reference_profile(names, [Column("name", "categorical")])
    path = written(names.assign(model_version=1), tmp_path / "day.parquet")
    asked = (reference, segment_levels(reference, ["name"]))
    whole, segments = count_parquet(str(path), {1: asked})[1]
    assert (whole.columns[0].levels, whole.columns[0].counts, segments) == ((), (500, 0), {})


@pytest.mark.filterwarnings("ignore:fetch_arrow_table")
def test_duckdb_counts_as_pandas_does(duck: Any, tmp_path: Path) -> None:
    # DuckDB takes two names that differ in case for one.
    reference = reference_of(rough(2000, 1))
    columns = [column for column in reference.columns if column.name != "Site"]
    reference = replace(reference, columns=tuple(columns))
    frame = rough(3000, 2).drop(columns="Site")
    levels = segment_levels(reference, ["site", "gone too"])
    path = written(frame, tmp_path / "day.parquet")
    found = of_duckdb(duck, path, reference, levels)
    same(found, frame[frame["model_version"] == 1], reference)


def test_postgres_counts_as_pandas_does(postgres_url: str) -> None:
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
