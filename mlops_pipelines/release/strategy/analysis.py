"""Whether a challenger's answers are as good as the champion's, by the gateway's counts."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_pipelines.release.replay import Replay
from mlops_pipelines.release.shadow import ALLOWED_MS
from mlops_pipelines.release.targets.target import Traffic
from mlops_pipelines.release_spec import Canary

SURE = 0.01
"""How often chance may take an equally good challenger back, over all steps of a rollout."""

SURE_EARLY = 1e-6
"""The same for each look within a step: there are many, and some failures cannot wait for its end.
Five failures of five are enough, beside fifty answers of the champion."""


@dataclass(frozen=True)
class Verdict:
    """What a step showed; `fault` is empty where nothing speaks against the challenger."""

    fault: str
    sentence: str


def since(now: Traffic, base: Traffic) -> Traffic:
    """What was counted after `base`; counters that began anew (other replicas) count from 0."""
    if now.requests < base.requests or now.errors < base.errors or now.seconds < base.seconds:
        return now
    return Traffic(
        now.requests - base.requests, now.errors - base.errors, now.seconds - base.seconds
    )


def judge(
    declared: Canary, champion: Traffic, challenger: Traffic, replay: Replay | None
) -> Verdict:
    """The verdict at the end of a step; what both counts are of is this step alone."""
    sure = SURE / len(declared.steps)
    faults = [
        fault
        for fault in (
            too_many_errors(declared, champion, challenger, sure),
            _too_slow(declared, champion, challenger),
            _too_different(declared, replay),
        )
        if fault
    ]
    said = [
        f"{challenger.requests} answers, {challenger.errors} failed "
        f"(champion {champion.requests}, {champion.errors})"
    ]
    if challenger.requests and champion.requests:
        said.append(f"{_mean(challenger):.3g} ms (champion {_mean(champion):.3g})")
    if replay is not None and replay.agreement is not None:
        said.append(f"{replay.agreement:.2%} of {replay.compared} rows answered alike")
    return Verdict("; ".join(faults), ", ".join(said))


def too_many_errors(declared: Canary, champion: Traffic, challenger: Traffic, sure: float) -> str:
    """The fault, where more fail than is allowed beyond the champion's, and not by chance.

    Fisher's exact test, one-sided; where the champion answered too little to compare with, the
    exact binomial test of the declared share (Clopper and Pearson 1934).
    """
    if not challenger.errors:
        return ""
    share = challenger.errors / challenger.requests if challenger.requests else 1.0
    beside = champion.errors / champion.requests if champion.requests else 0.0
    if share - beside <= declared.errors:
        return ""
    from scipy.stats import binom, hypergeom

    asked = max(challenger.requests, challenger.errors)
    if champion.requests < declared.min_requests:
        chance = float(binom.sf(challenger.errors - 1, asked, declared.errors))
        test = "binomial"
    else:
        of = max(champion.requests, champion.errors)
        failed = challenger.errors + champion.errors
        chance = float(hypergeom.sf(challenger.errors - 1, asked + of, failed, asked))
        test = "Fisher"
    if chance >= sure:
        return ""
    return (
        f"{challenger.errors} of its {challenger.requests} answers failed, the champion's "
        f"{champion.errors} of {champion.requests} (p {chance:.1g}, {test}'s exact test)"
    )


def _too_slow(declared: Canary, champion: Traffic, challenger: Traffic) -> str:
    if champion.requests < declared.min_requests or not challenger.requests:
        return ""
    mine, beside = _mean(challenger), _mean(champion)
    if mine <= declared.latency_ratio * beside or mine - beside <= ALLOWED_MS:
        return ""
    return (
        f"it took {mine:.3g} ms on average, {mine / beside:.1f} times the champion's "
        f"{beside:.3g} ms; {declared.latency_ratio:g} times is allowed"
    )


def _too_different(declared: Canary, replay: Replay | None) -> str:
    if replay is None or replay.agreement is None or replay.agreement >= declared.agreement:
        return ""
    return (
        f"it answers {replay.agreement:.2%} of {replay.compared} rows as the champion did; "
        f"{declared.agreement:.2%} must be"
    )


def _mean(traffic: Traffic) -> float:
    return 1000 * traffic.seconds / traffic.requests
