"""Logged values as Arrow tables: one type per column, whatever versions and callers sent."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mlops_pipelines.store import Store

TIME = pa.timestamp("us", tz="UTC")

_WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


def is_time(text: object) -> bool:
    """Whether this is a time as the log writes it: RFC 3339, UTC, microseconds."""
    if type(text) is not str or not _WRITTEN.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def array(values: Sequence[Any], kind: pa.DataType | None = None) -> pa.Array:
    """JSON values as one column; mixed numbers become doubles, any other mixture JSON text."""
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        if all(value is None or type(value) in (int, float) for value in values):
            return pa.array([None if v is None else float(v) for v in values], type=pa.float64())
        return pa.array([None if v is None else _text(v) for v in values], type=pa.string())


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all tables over the union of their columns, in order of first appearance."""
    kinds: dict[str, list[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, []).append(field.type)
    schema = pa.schema([(name, _common(found)) for name, found in kinds.items()])
    return pa.concat_tables([_cast(table, schema) for table in tables])


def take_day(table: pa.Table, mask: Sequence[bool]) -> pa.Table:
    """The rows where `mask` (n,) holds."""
    return table.filter(pa.array(mask, type=pa.bool_()))


def read_table(store: Store, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The Parquet at `key`; raises NotFoundError."""
    found = pa.BufferReader(store.read_bytes(key))
    return pq.read_table(found, columns=None if columns is None else list(columns))


def write_table(store: Store, key: str, table: pa.Table) -> None:
    """Replace the Parquet at `key`; the same rows give the same bytes."""
    sink = io.BytesIO()
    plain = table.replace_schema_metadata(None).combine_chunks()
    pq.write_table(plain, sink, compression="zstd")
    store.write_bytes(key, sink.getvalue())


def to_frame(table: pa.Table) -> pd.DataFrame:
    """As a data frame: null numbers are NaN, null text and booleans None."""
    frame: pd.DataFrame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_string(field.type) or pa.types.is_null(field.type):
            values = frame[field.name].astype(object)
            frame[field.name] = values.where(values.notna(), None)
    return frame


def _common(kinds: Sequence[pa.DataType]) -> pa.DataType:
    found = list(dict.fromkeys(kind for kind in kinds if not pa.types.is_null(kind)))
    if not found:
        return pa.null()
    if len(found) == 1:
        return found[0]
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in found):
        return pa.float64()
    if all(pa.types.is_list(kind) for kind in found):
        return pa.list_(_common([kind.value_type for kind in found]))
    return pa.string()


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        if column.type == field.type:
            columns.append(column)
        elif pa.types.is_string(field.type):
            columns.append(array([None if v is None else _text(v) for v in column.to_pylist()]))
        else:
            # An integer beyond 2**53 is rounded as the other version's doubles were.
            columns.append(column.cast(field.type, safe=False))
    return pa.table(columns, schema=schema)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
