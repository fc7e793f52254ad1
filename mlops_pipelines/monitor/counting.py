"""Counts a table's rows in the bins of reference profiles, inside the engine that holds them.

One expression, written with Ibis: of each column its cell (a bin, a level) by nested comparisons,
then a count and a sum by cell. Each column is read once; the rows never leave the engine, be it
DuckDB or any other that Ibis connects to. The store's own files are counted by `parquet_counts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_pipelines.measure.profile import (
    LARGEST,
    NUMBER,
    Profile,
    level,
)
from mlops_pipelines.measure.window import Segments
from mlops_pipelines.monitor.crossing import (
    ANSWER,
    COLUMNS_CROSSED,
    Levels,
    assembled,
    batches,
    packs,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir

VERSION = "model_version"
BATCHES_AT_ONCE = 16
"""Beyond, one statement takes an engine longer to plan than two."""


def count_table(
    rows: ir.Table,
    version: int,
    reference: Profile,
    segments: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Profile, Segments]:
    """The rows that `version` answered, counted in the bins of its reference.

    `rows` is a table of any engine that Ibis knows, with a column `model_version`. Returned are the
    profile of all of them, and those of each value of the segment columns as in
    `measure.window.WindowProfile`. The counts are those of `profile_like` on the same rows.
    """
    levels = _frozen(segments)
    names = {name: name for name in rows.columns}
    asked = expressions(rows, names, version, reference, levels)
    return assembled([each.to_pyarrow() for each in asked], reference, names, levels)


def expressions(
    rows: ir.Table,
    names: Mapping[str, str],
    version: int,
    reference: Profile,
    levels: Levels,
) -> Iterable[ir.Table]:
    """What is asked of the engine: how many rows, and of what sums, lie in each cell.

    `names` leads from the log's names to those of the table `rows`. Several expressions where there
    are many columns, so that none grows beyond what an engine plans quickly.
    """
    import ibis

    mine = rows.filter(rows[names[VERSION]] == version)
    asked = []
    for at, pack in enumerate(packs(levels)):
        for number, batch in enumerate(batches(reference, names, pack)):
            cells, totals = [], []
            for place in batch:
                column = reference.columns[place]
                values = mine[names[column.name]]
                if column.kind == "numeric":
                    values = _number(values)
                    cells.append((_bin(values, column.edges), column.size))
                    totals.append(values)
                else:
                    found = _level_of(values, column.levels)
                    cells.append((found, column.size))
                    totals.append(None)
            for name, known in pack:
                missing = ibis.literal(len(known) + 1)
                part = _level_of(mine[names[name]], known) if name in names else missing
                cells.append((part, len(known) + 2))
            asked.append(_counted(mine, cells, totals, at, number))
    for start in range(0, len(asked), BATCHES_AT_ONCE):
        some = asked[start : start + BATCHES_AT_ONCE]
        yield ibis.union(*some) if len(some) > 1 else some[0]


def _counted(
    rows: ir.Table,
    cells: Sequence[tuple[ir.Value, int]],
    totals: Sequence[ir.Value | None],
    pack: int,
    batch: int,
) -> ir.Table:
    """Rows and sums by all `cells` (each beside how many there are of it) crossed into one key."""
    import ibis

    key, size = ibis.literal(0), 1
    for cell, of in cells:
        key, size = key + cell * size, size * of
    summed = {f"value{at}": value for at, value in enumerate(totals) if value is not None}
    chosen = rows.select(cell=key.cast("int32"), **summed)
    sums = {
        f"total{at}": chosen[f"value{at}"].sum() if f"value{at}" in summed else _double(0.0)
        for at in range(COLUMNS_CROSSED)
    }
    counted = chosen.group_by("cell").aggregate(n=chosen.count(), **sums)
    return counted.mutate(
        pack=ibis.literal(pack).cast("int32"), batch=ibis.literal(batch).cast("int32")
    ).select(*ANSWER)


def _number(values: ir.Value) -> ir.Value:
    """As a double; null where `measure.profile` finds no number."""
    import ibis

    kind = values.type()
    if kind.is_boolean():
        return ibis.cases((values, 1.0), (~values, 0.0)).cast("float64")
    if kind.is_string():
        return ibis.ifelse(values.re_search(f"^{NUMBER}$"), values, None).cast("float64")
    if kind.is_numeric():
        return values.cast("float64")
    return ibis.null("float64")


def _bin(values: ir.Value, edges: Sequence[float]) -> ir.Value:
    """The cell of each number, by halving."""
    import ibis

    last = len(edges) - 1

    def among(low: int, high: int) -> ir.Value:
        if low == high:
            if low < last:
                return ibis.literal(low)
            return ibis.ifelse(values > _double(edges[last]), last + 1, last)
        middle = (low + high) // 2
        return ibis.ifelse(
            values < _double(edges[middle]), among(low, middle), among(middle + 1, high)
        )

    finite = values.between(_double(-LARGEST), _double(LARGEST)) & ~values.isnan()
    return ibis.ifelse(finite, among(0, last), last + 2)


def _level_of(values: ir.Value, levels: Sequence[str]) -> ir.Value:
    """The place of each value among the levels, then all others, then missing."""
    import ibis

    kind = values.type()
    missing = values.isnull()
    if kind.is_decimal():
        values = values.cast("float64")
    elif kind.is_floating():
        missing |= values.isnan()
    elif not (kind.is_string() or kind.is_boolean() or kind.is_integer()):
        values = values.cast("string")
    known = [(missing, ibis.literal(len(levels) + 1))]
    for place, name in enumerate(levels):
        meant = _meant(name, values.type())
        if meant is not None:
            known.append((values == meant, ibis.literal(place)))
    return ibis.cases(*known, else_=len(levels))


def _meant(name: str, kind: Any) -> Any:
    """The value of this type that is called `name`; None where there is none."""
    import ibis

    if kind.is_string():
        return ibis.literal(name)
    if kind.is_boolean():
        return {"0": ibis.literal(False), "1": ibis.literal(True)}.get(name)
    try:
        value = int(name) if kind.is_integer() else float(name)
    except ValueError:
        return None
    if level(value) != name:
        return None
    if kind.is_integer():
        return ibis.literal(value) if -(2**63) <= value < 2**63 else None
    return _double(value)


def _double(value: float) -> ir.Value:
    """From its shortest text: an engine may read 0.1 as a decimal, and round another way."""
    import ibis

    return ibis.literal(repr(float(value))).cast("float64")


def _frozen(segments: Mapping[str, Sequence[str]] | None) -> Levels:
    return tuple((name, tuple(values)) for name, values in (segments or {}).items())
