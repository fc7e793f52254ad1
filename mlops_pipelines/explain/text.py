"""What `mlops lineage` prints for people."""

from __future__ import annotations

from typing import Any


def lineage_text(found: dict[str, Any]) -> str:
    """Everything behind a version, a line for each thing."""
    data, code = found["data"], found["code"]
    aliases = f" ({', '.join(found['aliases'])})" if found["aliases"] else ""
    dirty = f", with uncommitted changes {code['git_dirty']}" if code["git_dirty"] else ""
    metrics = {
        name: value
        for name, value in found["metrics"].items()
        if not name.startswith(("train_", "cv_"))
    }
    lines = [
        f"{found['model']} version {found['version']}{aliases}, registered {found['created']}",
        f"  parent       {_parent(found['parent_version'])}",
        f"  data         snapshot {data['snapshot'][:16]}, {data['rows']} rows "
        f"({data['train_rows']} train, {data['holdout_rows']} holdout), "
        f"{len(data['features'])} features, from {data['source']}",
        f"  code         {_commit(code['git_commit'])}{dirty}",
        f"  environment  lock {found['environment']['lock_hash'][:16]}, "
        f"Python {found['environment']['python']}",
        f"  runs         MLflow {found['runs']['mlflow']}, Dagster {found['runs']['dagster']}",
        "  parameters   " + ", ".join(f"{k}={v}" for k, v in sorted(found["params"].items())),
        "  metrics      " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()),
        f"  gates        {found['gates']}",
        f"  bundle       {found['bundle'][:16] or 'none'}",
    ]
    for each in found["deployments"]:
        lines.append(f"  {each['action']:<12} {each['at']} by {each['actor']}: {each['reason']}")
    if found["quarantined"]:
        lines.append(f"  quarantined  {found['quarantined']}")
    for proof in found.get("proofs", []):
        seen = "holds" if proof["holds"] else f"found {proof['found'][:60]}"
        lines.append(f"  proof        {proof['thing']} {proof['recorded'][:16]}: {seen}")
    return "\n".join(lines)


def _parent(parent: int | None) -> str:
    return "none: the first to be trained" if parent is None else f"version {parent}"


def _commit(commit: str) -> str:
    """A commit's short name; a sentence (there is no repository) stays whole."""
    return commit if " " in commit else commit[:12]
