"""Rows like those of a table of customers: numbers of several shapes, and a few categories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

AT_ONCE = 1_000_000


def write(path: Path, rows: int, columns: int, seed: int, shift: float = 0.0) -> Path:
    """A Parquet of so many rows; a fifth of the columns are categories. `shift` moves the first."""
    rng = np.random.default_rng(seed)
    writer = None
    for start in range(0, rows, AT_ONCE):
        table = pa.Table.from_pandas(_rows(rng, min(AT_ONCE, rows - start), columns, shift))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return path


def _rows(rng: np.random.Generator, rows: int, columns: int, shift: float) -> pd.DataFrame:
    found: dict[str, object] = {}
    categories = columns // 5
    for place in range(columns - categories):
        values = (
            rng.normal(size=rows),
            rng.lognormal(size=rows),
            rng.integers(0, 12, size=rows).astype(np.float64),
            rng.exponential(size=rows),
        )[place % 4]
        values[rng.random(rows) < 0.01] = np.nan
        found[f"number_{place}"] = values + (shift if place == 0 else 0.0)
    for place in range(categories):
        levels = np.array([f"level {level}" for level in range(4 * (place % 5 + 1))])
        weights = 1 / np.arange(1, len(levels) + 1)
        codes = rng.choice(len(levels), size=rows, p=weights / weights.sum())
        found[f"category_{place}"] = levels[codes]
    return pd.DataFrame(found | {"model_version": np.ones(rows, dtype=np.int64)})
