"""Before a version takes any traffic it answers the last logged requests, in the shadow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlops_pipelines.errors import StoreError, TargetError
from mlops_pipelines.release.logged import last_logged
from mlops_pipelines.release.replay import Latency, Replay, replay, replay_beside_log
from mlops_pipelines.release_spec import Shadow
from mlops_pipelines.serve.bundle import BundleError, read_bundle
from mlops_pipelines.store import Store

ENOUGH_ROWS = 100
"""Below, a 95th percentile is the place of a few requests: it is shown and not judged."""

ALLOWED_MS = 5.0
"""A 95th percentile that is higher by less is no fault, whatever its ratio: on one machine, two
runs of the same version differ by as much."""


@dataclass(frozen=True)
class Shadowed:
    """What a shadow replay found; `faults` say why the version must not take traffic.

    `replay` is None where nothing was asked; the sentence says why.
    """

    replay: Replay | None
    faults: tuple[str, ...]
    sentence: str

    @property
    def passed(self) -> bool:
        """Whether the version may take traffic."""
        return not self.faults

    def document(self) -> dict[str, Any]:
        """As a JSON value."""
        found = None if self.replay is None else _document(self.replay)
        return {"passed": self.passed, "sentence": self.sentence, "replay": found}

    def markdown(self) -> str:
        """Challenger and champion in a table."""
        if self.replay is None:
            return self.sentence
        return "\n".join([self.sentence, "", *_table(self.replay)])

    def figures(self) -> dict[str, float]:
        """The numbers that are plotted from version to version."""
        found = self.replay
        if found is None:
            return {}
        numbers = {
            "shadow_rows": float(found.rows),
            "shadow_errors": float(found.failed),
            "shadow_p95_ms": found.latency.p95 if found.latency else None,
            "shadow_agreement": found.agreement,
        }
        return {name: value for name, value in numbers.items() if value is not None}


def shadow(
    declared: Shadow,
    store: Store,
    log_dir: Path,
    model: str,
    challenger: Path,
    champion: Path | None,
) -> Shadowed:
    """Replay the last logged rows of `model` on both bundles, and judge the challenger's answers.

    That nothing was logged yet, or can be read, is no fault of the challenger; that its bundle does
    not start is. Where the champion's does not, the challenger is compared with the log.
    """
    if not declared.rows:
        return Shadowed(None, (), "release.shadow.rows is 0: nothing was replayed")
    try:
        rows = last_logged(store, log_dir, model, declared.rows)
    except StoreError as error:
        return Shadowed(None, (), f"nothing was replayed: {error}")
    if not rows:
        return Shadowed(None, (), "no logged requests yet")
    obstacle = ""
    try:
        try:
            found = replay(rows, challenger, champion)
        except TargetError as error:
            # It may be the champion that does not start: the reason for this very release.
            obstacle = f"; beside the log, since not both started ({error})"
            mine = read_bundle(champion).version if champion is not None else None
            found = replay_beside_log([row for row in rows if row.version == mine], challenger)
    except (TargetError, BundleError) as error:
        fault = f"the shadow replay of {len(rows)} rows failed: {error}"
        return Shadowed(None, (fault,), fault)
    result = judged(declared, found)
    return replace(result, sentence=result.sentence + obstacle)


def judged(declared: Shadow, found: Replay) -> Shadowed:
    """What is wrong with the answers, by what is declared."""
    faults = []
    if found.failed > declared.errors * found.rows:
        kinds = ", ".join(f"{n} {kind}" for kind, n in found.errors.items())
        faults.append(
            f"{found.failed} of {found.rows} replayed rows were not answered ({kinds}); "
            f"{declared.errors:.2%} may"
        )
    faults += _slow(declared, found)
    if found.agreement is not None and found.agreement < declared.agreement:
        faults.append(
            f"{found.agreement:.2%} of {found.compared} replayed rows are answered as the champion "
            f"does; {declared.agreement:.2%} must"
        )
    return Shadowed(found, tuple(faults), "; ".join(faults) or _sentence(found))


def _slow(declared: Shadow, found: Replay) -> list[str]:
    mine, beside = found.latency, found.champion_latency
    if mine is None or beside is None or found.compared < ENOUGH_ROWS:
        return []
    if mine.p95 <= declared.latency_ratio * beside.p95 or mine.p95 - beside.p95 <= ALLOWED_MS:
        return []
    return [
        f"the 95th percentile of its latency is {mine.p95:.3g} ms, {mine.p95 / beside.p95:.1f} "
        f"times the champion's {beside.p95:.3g} ms; {declared.latency_ratio:g} times is allowed"
    ]


def _sentence(found: Replay) -> str:
    lacking = (
        f"; {found.not_comparable} lack a column and are not comparable"
        if found.not_comparable
        else ""
    )
    if not found.rows:
        return f"no logged row can be asked again{lacking}"
    said = [f"{found.rows} logged rows replayed, {found.failed} not answered"]
    if found.latency:
        beside = f" (champion {found.champion_latency.p95:.3g})" if found.champion_latency else ""
        said.append(f"95th percentile {found.latency.p95:.3g} ms{beside}")
    if found.agreement is not None:
        said.append(f"{found.agreement:.2%} answered as the champion does")
    return ", ".join(said) + lacking


def _document(found: Replay) -> dict[str, Any]:
    return {**asdict(found), "failed": found.failed, "agreement": found.agreement}


def _table(found: Replay) -> list[str]:
    named = "champion" if found.champion is None else f"champion v{found.champion}"
    lines = [f"| shadow replay | challenger | {named} | in production |", "|---|---|---|---|"]
    lines.append(f"| rows | {found.rows} | {found.rows if found.champion else ''} | |")
    lines.append(f"| not answered | {found.failed} | {found.unanswered} | |")
    for name in ("p50", "p95", "p99"):
        each = (found.latency, found.champion_latency, found.logged_latency)
        lines.append(f"| {name} (ms) | {' | '.join(_ms(latency, name) for latency in each)} |")
    if found.agreement is not None:
        lines.append(f"| answered alike | {found.agreement:.2%} of {found.compared} | | |")
    if found.mean_difference is not None:
        largest = found.largest_difference or 0.0
        lines.append(
            f"| score difference | {found.mean_difference:.3g} mean, {largest:.3g} largest | | |"
        )
    if found.not_comparable:
        lines.append(f"| not comparable | {found.not_comparable} | | |")
    return lines


def _ms(latency: Latency | None, name: str) -> str:
    return "" if latency is None else f"{getattr(latency, name):.3g}"
