"""When a version took the traffic and when it lost it, who did that, and why."""

from __future__ import annotations

from collections.abc import Sequence

from mlops_pipelines.explain import record_schema as schema
from mlops_pipelines.explain.event_log import Deployed
from mlops_pipelines.explain.record_schema import What


def moves(deployed: Sequence[Deployed]) -> dict[int, list[schema.Moved]]:
    """By version, every time that it took the traffic or lost it, oldest first."""
    found: dict[int, list[schema.Moved]] = {}
    serving: int | None = None
    for each in deployed:
        back = each.action == "rollback"
        if each.version == serving or each.action == "unchanged":
            again: What = "unchanged" if each.action == "unchanged" else "deployed"
            found.setdefault(each.version, []).append(_moved(each, again, None))
        else:
            took: What = "rolled back to" if back else "deployed"
            found.setdefault(each.version, []).append(_moved(each, took, serving))
            if serving is not None:
                lost: What = "rolled back from" if back else "replaced"
                found.setdefault(serving, []).append(_moved(each, lost, each.version))
        serving = each.version
    return found


def _moved(each: Deployed, what: What, other: int | None) -> schema.Moved:
    return schema.Moved(
        at=each.at, what=what, other=other, actor=each.actor, reason=each.reason, run=each.run_id
    )
