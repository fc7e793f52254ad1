"""A day's rows, and those of the days before it where one day alone has too few to judge."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pandas as pd

MOST = 28
"""Days that are taken together at most."""


def with_days_before(
    read: Callable[[str], pd.DataFrame], day: str, version: int, enough: int
) -> tuple[pd.DataFrame, int]:
    """The rows of `version` on `day` and on as few days before it as make `enough`, and the days.

    `read` gives all versions' rows of a day, with `model_version`; it may have none. Rows of other
    versions are those of `day` alone. Where 28 days are too few, there is nothing to gain: then the
    rows are those of `day`.
    """
    alone = read(day)
    own = [alone]
    count = int((alone["model_version"] == version).sum())
    at = date.fromisoformat(day)
    for ago in range(1, MOST):
        if count >= enough:
            break
        rows = read((at - timedelta(days=ago)).isoformat())
        rows = rows[rows["model_version"] == version]
        own.append(rows)
        count += len(rows)
    if count < enough or len(own) == 1:
        return alone, 1
    return pd.concat([each for each in own[::-1] if len(each)], ignore_index=True), len(own)
