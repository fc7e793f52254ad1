"""Hashes of rows: one for a whole frame, and one for each row that tells its side of the split.

Both are defined over bytes of Arrow's and IEEE's formats, so that they outlive versions of pandas.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


def content_digest(frame: pd.DataFrame, about: dict[str, Any]) -> str:
    """SHA-256, in hex, of the rows of `frame` in their order, its columns, and `about` (JSON)."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, ensure_ascii=False).encode())
    for name in frame.columns:
        kind, *buffers = _canonical(frame[name])
        head = json.dumps([name, kind, len(frame), [buffer.nbytes for buffer in buffers]])
        digest.update(head.encode())
        for buffer in buffers:
            digest.update(np.ascontiguousarray(buffer).data)
    return digest.hexdigest()


def row_hashes(frame: pd.DataFrame, seed: int) -> Hashes:
    """One hash per row of what it holds, whatever the order of columns and the other rows are."""
    total = np.full(len(frame), seed, dtype=np.uint64)
    for name in frame.columns:
        salt = np.uint64(_word(f"{seed}:{name}".encode()))
        total += _mix(_codes(frame[name]) ^ salt)
    return _mix(total)


def _canonical(values: pd.Series) -> tuple[Any, ...]:
    nulls = values.isna().to_numpy()
    if _is_text(values):
        text = pa.array(values.to_numpy(dtype=object), pa.large_string(), from_pandas=True)
        _, offsets, data = text.buffers()
        ends = np.frombuffer(offsets, np.int64, len(values) + 1) if offsets else np.zeros(1, int)
        letters = np.frombuffer(data, np.uint8, int(ends[-1])) if data else np.zeros(0, np.uint8)
        return "string", nulls, ends, letters
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return "time", nulls, values.astype("datetime64[us, UTC]").astype("int64").to_numpy()
    if values.dtype == object or values.dtype == bool:
        return "boolean", nulls, values.eq(True).to_numpy(dtype=bool)
    if values.dtype == np.int64:
        return "long", values.to_numpy()
    numbers = values.to_numpy(dtype=np.float64)
    return "double", nulls, np.where(nulls, 0.0, numbers) + 0.0


def _codes(values: pd.Series) -> Hashes:
    """64 bits per value; equal for equal values of whatever numeric type."""
    if _is_text(values):
        places, distinct = pd.factorize(values)
        words = np.array([0, *(_word(str(value).encode()) for value in distinct)], np.uint64)
        return words[places + 1]
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return values.astype("datetime64[us, UTC]").astype("int64").to_numpy().view(np.uint64)
    nulls = values.isna().to_numpy()
    # An integer column turns to floating point when a later row is null; its rows must not move.
    numbers = np.where(nulls, np.nan, values.where(~nulls, 0).to_numpy(dtype=np.float64)) + 0.0
    return np.where(nulls, np.uint64(1), numbers.view(np.uint64))


def _is_text(values: pd.Series) -> bool:
    return isinstance(values.dtype, pd.StringDtype)


def _word(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _mix(words: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
