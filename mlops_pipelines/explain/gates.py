"""The gates of a version: how each was decided, and on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops_pipelines import record
from mlops_pipelines.explain import record_schema as schema
from mlops_pipelines.explain.books import Entry
from mlops_pipelines.explain.event_log import Check


def gates(entry: Entry, evaluation: Mapping[str, Any], checks: Sequence[Check]) -> schema.Gates:
    """Whether the version may be deployed; `evaluation` is its document, empty where not kept."""
    tag = entry.tags.get(record.GATES, "")
    failed = [each for each in checks if each.blocking and not each.passed]
    why = tag.removeprefix("refused: ") if tag.startswith("refused") else ""
    if failed and not why:
        why = "; ".join(f"{each.name}: {each.says}" for each in failed)
    verdict = "refused" if why else tag or "not evaluated"
    return schema.Gates(
        verdict=verdict,
        why=why,
        results=[
            schema.Gate(
                gate=each.name,
                passed=each.passed,
                blocking=each.blocking,
                says=each.says,
                at=each.at,
                run=each.run_id,
                evidence={
                    **{k: v for k, v in each.metadata.items() if k != "version"},
                    **_evidence(each.name, evaluation),
                },
            )
            for each in checks
        ],
    )


def _evidence(gate: str, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What the evaluation kept of the declared gates that one check stands for."""
    stands = {"meets_thresholds": False, "no_worse_than_champion": True}
    if not evaluation or gate not in stands:
        return {}
    return {
        "gates": [
            each
            for each in evaluation["gates"]
            if (each["within_champion"] is not None) == stands[gate]
        ]
    }
