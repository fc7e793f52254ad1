"""What a reference knows of itself, so that a window can be told from chance."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_pipelines.errors import DataError
from mlops_pipelines.measure.blocks import MIN_BLOCKS
from mlops_pipelines.measure.codes import Cells, cell_codes
from mlops_pipelines.measure.kept_nulls import Keep, KeptNulls
from mlops_pipelines.measure.maxima import Null, bounded, make_null
from mlops_pipelines.measure.profile import Profile, level, profile_like
from mlops_pipelines.measure.statistics import Layout, open_ends

Unit = Literal["rows", "day", "week", "month"]

SCHEMA = 1
MAX_ROWS = 20_000
MIN_BLOCK_ROWS = 30
_CUT = 0.1
"""Share of a block that the first or last one may lack at its edge."""

_PERIODS: tuple[tuple[Unit, str], ...] = (("day", "D"), ("week", "W"), ("month", "M"))


@dataclass(frozen=True)
class Reference:
    """The profile of the reference with what tells chance from change.

    `codes` (rows, columns) says for up to 20,000 rows where in its column's `counts` each value was
    counted, so that columns can be drawn together. `blocks` are
    the profiles of the reference's days, weeks or months (`unit`), oldest first; none where there
    is no time, and `unit` is then `rows`. `segments` are references of parts of the rows, by column
    and value. `joint` says whether the codes are of real rows: those of a profile alone keep each
    column's shares, but columns are drawn independently.
    """

    profile: Profile
    codes: Cells
    blocks: tuple[Profile, ...] = ()
    unit: Unit = "rows"
    segments: Mapping[str, Mapping[str, Reference]] = field(default_factory=dict)
    joint: bool = True
    _nulls: KeptNulls = field(default_factory=KeptNulls, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        profile: Profile,
        times: pd.Series[pd.Timestamp] | None = None,
        segments: Sequence[str] = (),
    ) -> Reference:
        """From the rows that `profile` was made of; columns it lacks are drawn from their counts.

        The rows of the codes are a seeded sample. Blocks are days where at least eight days of at
        least 30 rows are there, else weeks, else months; a segment is kept from 30 rows on.
        """
        kept = _sample(frame, profile)
        codes = _codes(frame.iloc[kept], profile)
        unit, blocks = _blocks(frame, profile, times)
        parts = {
            name: _parts(frame, profile, name, times) for name in segments if name in frame.columns
        }
        return cls(profile, codes, blocks, unit, parts)

    @classmethod
    def alone(cls, profile: Profile) -> Reference:
        """From a profile alone, as older versions have it; the same again for the same profile."""
        return _alone(profile)

    def null(
        self, rows: int, draws: int, directions: Mapping[str, str], against: int | None = None
    ) -> Null:
        """What windows of about so many rows show if nothing changed; drawn once, then kept.

        They are drawn against references of the reference's size, or of `against` rows.
        """
        signs = tuple(
            {"up": 1, "down": -1}.get(directions.get(column.name, ""), 0)
            for column in self.profile.columns
        )
        sizes = [
            max(1, column.n) if against is None else against for column in self.profile.columns
        ]
        window, others = bounded(rows, sizes)
        layout, ends = Layout.of(self.profile), open_ends(self.profile)

        def said() -> bytes:
            return repr((layout, ends.tolist(), self.joint, self.codes.shape)).encode() + (
                self.codes.tobytes()
            )

        def draw() -> Null:
            cells = np.stack(
                [
                    np.array(of, dtype=np.uint8)[codes]
                    for of, codes in zip(layout.cells, self.codes.T, strict=True)
                ]
                or [np.zeros(len(self.codes), dtype=np.uint8)],
                axis=1,
            )
            return make_null(layout, cells, ends, window, others, draws, signs, joint=self.joint)

        return self._nulls.null((window, tuple(others), draws, signs), said, draw)

    def keep_nulls(self, keep: Keep) -> None:
        """Have what is drawn for it, and for its segments, outlive the process."""
        self._nulls.keep = keep
        for parts in self.segments.values():
            for part in parts.values():
                part.keep_nulls(keep)

    def to_bytes(self) -> bytes:
        """As a compressed npz file; `from_bytes` reads it back."""
        arrays: dict[str, np.ndarray] = {}
        said = _describe(self, "", arrays)
        arrays["said"] = np.frombuffer(
            json.dumps({"schema": SCHEMA, **said}, allow_nan=False).encode(), dtype=np.uint8
        )
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Reference:
        """Raises DataError where the bytes are no reference, or one of another schema."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                said = json.loads(arrays["said"].tobytes())
                schema = said["schema"]
                if schema == SCHEMA:
                    return _understood(said, arrays)
        except (ValueError, KeyError, TypeError, OSError, EOFError, BadZipFile) as error:
            raise DataError(
                f"reference: not readable as an npz file of schema {SCHEMA}: {error!r}"
            ) from error
        raise DataError(f"reference: schema {schema}; this release reads schema {SCHEMA}")


@lru_cache(maxsize=8)
def _alone(profile: Profile) -> Reference:
    rows = int(min(MAX_ROWS, max(1, profile.n)))
    drawn = [
        _from_counts(column.counts, rows, place) for place, column in enumerate(profile.columns)
    ]
    codes = np.stack(drawn, axis=1) if drawn else np.zeros((rows, 0), dtype=np.uint8)
    return Reference(profile, codes, joint=False)


def _sample(frame: pd.DataFrame, profile: Profile) -> NDArray[np.int64]:
    """Places of the rows whose codes are kept, in order."""
    # The levels of a column with very many are counted on every other row: the codes of the rest
    # would know levels too well that were chosen on them.
    halved = any(column.n < profile.n for column in profile.columns if column.name in frame.columns)
    rows = np.arange(len(frame))[1::2] if halved and len(frame) > 1 else np.arange(len(frame))
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_ROWS, replace=False))
    return rows


def _codes(frame: pd.DataFrame, profile: Profile) -> Cells:
    codes = cell_codes(frame, profile)
    for place, column in enumerate(profile.columns):
        if column.name not in frame.columns:
            codes[:, place] = _from_counts(column.counts, len(frame), place)
    return codes


def _from_counts(counts: Sequence[int], rows: int, seed: int) -> NDArray[np.uint8]:
    """So many codes in random order, each as often as the counts have it."""
    total = max(1, sum(counts))
    ends = np.round(np.cumsum(counts) * (rows / total)).astype(np.int64)
    codes = np.searchsorted(ends, np.arange(rows), side="right").astype(np.uint8)
    codes = np.minimum(codes, len(counts) - 1)
    return np.random.default_rng([1, seed]).permutation(codes)


def _blocks(
    frame: pd.DataFrame, profile: Profile, times: pd.Series[pd.Timestamp] | None
) -> tuple[Unit, tuple[Profile, ...]]:
    if times is None:
        return "rows", ()
    profile = _present(frame, profile)
    when = pd.Series(pd.to_datetime(times, utc=True)).dt.tz_localize(None)
    for unit, period in _PERIODS:
        starts = when.dt.to_period(period)
        sizes = starts.value_counts()
        # Half a week at either end of the rows is no week: it may have no working day.
        kept = sorted(sizes.index[sizes >= max(MIN_BLOCK_ROWS, sizes.median() / 2)])
        kept = [each for each in kept if each not in _cut(when, starts)]
        if len(kept) >= MIN_BLOCKS and sizes[kept].sum() >= 0.9 * len(frame):
            rows = [frame[(starts == each).to_numpy()] for each in kept]
            return unit, tuple(profile_like(each, profile) for each in rows)
    return "rows", ()


def _cut(when: pd.Series[pd.Timestamp], starts: pd.Series[Any]) -> set[pd.Period]:
    """The first and the last period, where it lacks a part that others have.

    A split by time leaves its last day a morning, which differs from every whole day.
    """
    inside = (when - starts.dt.start_time).groupby(starts)
    first, last = inside.min(), inside.max()
    ends = [last.index[0], last.index[-1]]
    slack = (ends[0].end_time - ends[0].start_time) * _CUT
    late, early = first > first.median() + slack, last < last.median() - slack
    return {each for each in ends if late[each] or early[each]}


def _parts(
    frame: pd.DataFrame, profile: Profile, name: str, times: pd.Series[pd.Timestamp] | None
) -> dict[str, Reference]:
    values = frame[name].map(level, na_action="ignore")
    found = {}
    for value, rows in values.groupby(values).groups.items():
        inside = values.index.isin(rows)
        if inside.sum() < MIN_BLOCK_ROWS:
            continue
        some = frame[inside]
        counted = profile_like(some, _present(frame, profile))
        found[str(value)] = Reference.of(some, counted, None if times is None else times[inside])
    return found


def _present(frame: pd.DataFrame, profile: Profile) -> Profile:
    """Only the columns that the frame has."""
    kept = tuple(column for column in profile.columns if column.name in frame.columns)
    return Profile(profile.n, kept)


def _describe(reference: Reference, at: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    arrays[f"codes{at}"] = reference.codes
    arrays[f"blocks{at}"] = np.array(
        [
            [count for column in block.columns for count in column.counts]
            for block in reference.blocks
        ],
        dtype=np.int64,
    )
    arrays[f"totals{at}"] = np.array(
        [[column.total for column in block.columns] for block in reference.blocks]
    )
    shown = reference.blocks[0].columns if reference.blocks else ()
    return {
        "profile": json.loads(reference.profile.to_json()),
        "unit": reference.unit,
        "joint": reference.joint,
        "columns": [column.name for column in shown],
        "segments": {
            name: {
                value: _describe(part, f"{at}.{first}.{second}", arrays)
                for second, (value, part) in enumerate(parts.items())
            }
            for first, (name, parts) in enumerate(reference.segments.items())
        },
    }


def _understood(
    said: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], at: str = ""
) -> Reference:
    profile = Profile.from_json(json.dumps(said["profile"]))
    shown = [column for column in profile.columns if column.name in said["columns"]]
    ends = np.cumsum([0, *(len(column.counts) for column in shown)])
    blocks = []
    for counts, totals in zip(arrays[f"blocks{at}"], arrays[f"totals{at}"], strict=True):
        columns = tuple(
            replace(column, counts=tuple(counts[a:b].tolist()), total=float(total))
            for column, a, b, total in zip(shown, ends, ends[1:], totals, strict=False)
        )
        blocks.append(Profile(max(column.n for column in columns), columns))
    return Reference(
        profile,
        arrays[f"codes{at}"],
        tuple(blocks),
        said["unit"],
        {
            name: {
                value: _understood(part, arrays, f"{at}.{first}.{second}")
                for second, (value, part) in enumerate(parts.items())
            }
            for first, (name, parts) in enumerate(said["segments"].items())
        },
        said["joint"],
    )
