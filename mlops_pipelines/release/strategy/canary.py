"""A canary as a state machine: from where it is and what is seen to what is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mlops_pipelines.release.replay import Replay
from mlops_pipelines.release.strategy.analysis import (
    SURE_EARLY,
    judge,
    since,
    too_many_errors,
)
from mlops_pipelines.release.targets.target import Traffic
from mlops_pipelines.release_spec import Canary

LOOK_SECONDS = 1.0
NOTHING = Traffic(0, 0, 0.0)


@dataclass(frozen=True)
class State:
    """The challenger has `percent` of the traffic since `since` (s on the clock of `began`).

    `base` is what the gateway had counted by then. `replay` is how it answers what the champion
    answered in this step, once they were `compared`; `passed` says what the steps before showed.
    """

    champion: int
    challenger: int
    began: float
    since: float
    percent: int = 0
    base: Mapping[int, Traffic] = field(default_factory=dict)
    compared: bool = False
    replay: Replay | None = None
    passed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What the target says now; `healthy` is whether a replica of the challenger answers.

    `stop` is why somebody wants the rollout to end; empty where nobody does.
    """

    serving: int | None
    healthy: bool
    traffic: Mapping[int, Traffic]
    stop: str = ""


@dataclass(frozen=True)
class Wait:
    """Look again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Compare:
    """Ask the challenger what the champion answered since the step began."""


@dataclass(frozen=True)
class Weigh:
    """Give the challenger so much of the traffic; `why` says what the step before showed."""

    percent: int
    why: str


@dataclass(frozen=True)
class GoBack:
    """Give the champion all traffic; `blame` where the challenger showed a fault of its own."""

    why: str
    blame: bool


Action = Wait | Compare | Weigh | GoBack


def decide(declared: Canary, state: State, seen: Seen, now: float) -> Action:
    """What to do at `now`; a pure function, so that every way through it can be tried."""
    if seen.stop:
        return GoBack(seen.stop, blame=False)
    if seen.serving != state.champion:
        served = "nothing" if seen.serving is None else f"version {seen.serving}"
        return GoBack(f"the gateway sends the traffic to {served} by now", blame=False)
    if not seen.healthy:
        return GoBack("none of its replicas answers the gateway", blame=True)
    champion, challenger = (
        since(seen.traffic.get(version, NOTHING), state.base.get(version, NOTHING))
        for version in (state.champion, state.challenger)
    )
    early = too_many_errors(declared, champion, challenger, SURE_EARLY)
    if early:
        return GoBack(early, blame=True)
    if now - state.began >= 60 * declared.deadline_minutes:
        return _at_deadline(declared, challenger)
    if not state.percent:
        return Weigh(declared.steps[0], "")
    left = state.since + declared.bake_seconds - now
    if left > 0 or challenger.requests < declared.min_requests:
        return Wait(min(max(left, 0.05), LOOK_SECONDS) if left > 0 else LOOK_SECONDS)
    if not state.compared:
        return Compare()
    verdict = judge(declared, champion, challenger, state.replay)
    if verdict.fault:
        return GoBack(verdict.fault, blame=True)
    following = [percent for percent in declared.steps if percent > state.percent]
    return Weigh(following[0] if following else 100, verdict.sentence)


def advanced(state: State, action: Weigh, seen: Seen, now: float) -> State:
    """The state after the traffic was given."""
    shown = (f"{state.percent} %: {action.why}",) if state.percent else ()
    return replace(
        state,
        since=now,
        percent=action.percent,
        base=dict(seen.traffic),
        compared=False,
        replay=None,
        passed=(*state.passed, *shown),
    )


def _at_deadline(declared: Canary, challenger: Traffic) -> Action:
    why = (
        f"the deadline of {declared.deadline_minutes:g} min has passed; in its last step it gave "
        f"{challenger.requests} answers, {declared.min_requests} are needed"
    )
    if declared.at_deadline == "go_on":
        return Weigh(100, why)
    return GoBack(why, blame=False)
