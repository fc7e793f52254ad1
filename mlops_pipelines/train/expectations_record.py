"""What is kept of the expectations that ran on the training data: each, and whether it held."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_pipelines.train.quality import Quality
    from mlops_pipelines.train.suite import Suite

EXPECTATIONS = "expectations.json"
"""Beside a snapshot: how its rows met the suite last. Artifact of a version: how they did when it
was trained."""


def expectations_document(suite: Suite, quality: Quality, origin: str) -> dict[str, Any]:
    """A suite and how rows met it, as a JSON value; there is no row's value in it.

    Of expectations that stand twice with one column, `holds` is null for each where one failed.
    """
    failed = {(each.expectation, each.column): each.sentence for each in quality.failed}
    keys = [(each["expectation"], str(each.get("column", ""))) for each in suite["expectations"]]
    counted = Counter(keys)

    def holds(key: tuple[str, str]) -> bool | None:
        if key not in failed:
            return True
        return False if counted[key] == 1 else None

    return {
        "schema": 1,
        "origin": origin,
        "passed": quality.passed,
        "rows": quality.rows,
        "says": f"{quality.expectations - len(quality.failed)} of {quality.expectations} "
        f"expectations hold on {quality.rows} rows",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "results": [
            {
                "expectation": each["expectation"],
                "column": each.get("column"),
                "arguments": {
                    name: value
                    for name, value in each.items()
                    if name not in ("expectation", "column")
                },
                "holds": holds(key),
                "found": failed.get(key, ""),
            }
            for each, key in zip(suite["expectations"], keys, strict=True)
        ],
    }
