"""The figures of issue 5 out of what was measured: which is divided by which, and its goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.common import Row, at_least, at_most, ratio
from benchmarks.serving import contestants as c
from benchmarks.serving.rounds import Measured
from benchmarks.serving.servers import Server

RATE = "requests/s"


def throughput(measured: Mapping[str, Measured]) -> list[Row]:
    """One row, 8 connections, one worker."""
    sklearn = _best(measured, c.SPECIALISTS_SKLEARN)
    onnx = _best(measured, c.SPECIALISTS_ONNX)
    return [
        _absolute(measured),
        _against(
            measured,
            "throughput against mlflow models serve with a signature",
            c.OURS_NAMED,
            [c.MLFLOW],
            goal=60,
            beside=[c.OURS_NO_FSYNC, c.MLFLOW_BARE],
            note="both get the same body, a data frame",
        ),
        _against(
            measured,
            "throughput against the best specialist at its documented best",
            c.OURS,
            c.SPECIALISTS_SKLEARN,
            goal=8,
            beside=[c.OURS_NO_FSYNC],
            note="they run scikit-learn, ours ONNX Runtime; the next two rows part the ratio",
        ),
        _against(
            measured,
            "  the server's part: the best specialist on the same ONNX session",
            c.OURS,
            c.SPECIALISTS_ONNX,
            goal=3,
            beside=[c.OURS_NO_FSYNC],
        ),
        Row(
            "  the runtime's part: the best specialist, ONNX against scikit-learn",
            ratio(onnx, sklearn),
            "×",
        ),
        _against(
            measured,
            "throughput against a bare ASGI function",
            c.OURS,
            [c.BARE],
            goal=0.4,
            beside=[c.FASTAPI_ONNX],
            note="its log line is appended without fsync, ours is on the disk before the answer",
        ),
        _against(measured, "  the same, our log without fsync too", c.OURS_NO_FSYNC, [c.BARE]),
        _against(
            measured,
            "throughput of a scikit-learn bundle against FastAPI + scikit-learn, no log",
            c.OURS_SKLEARN,
            [c.FASTAPI_SKLEARN],
            goal=1,
        ),
    ]


def footprint(measured: Mapping[str, Measured]) -> list[Row]:
    """Start and memory of an ONNX bundle."""
    ours = measured[c.OURS.name]
    others = {name: one for name, one in measured.items() if name != c.OURS.name}
    return [
        Row(
            "start to ready",
            ours.ready_seconds,
            "s",
            at_most(1.5),
            {name: one.ready_seconds or _short(one) for name, one in others.items()},
            "s",
            ours.failure or "from the start of the process to the first right answer to a row",
        ),
        Row(
            "memory after the load",
            ours.memory,
            "MB",
            at_most(130),
            {name: one.memory or _short(one) for name, one in others.items()},
            "MB",
            ours.failure or "resident set size of all processes, in 10⁶ bytes",
        ),
    ]


def batches(measured: Mapping[str, Measured], rows: int) -> list[Row]:
    """Rows a second in large requests."""
    shown = {
        name: one.failure if one.rate is None else one.rate * rows for name, one in measured.items()
    }
    ours, mlflow = measured[c.OURS_NAMED.name], measured[c.MLFLOW.name]
    return [
        Row(
            f"rows a second in batches of {rows:,}, against mlflow models serve",
            ratio(ours.rate, mlflow.rate),
            "×",
            at_least(20),
            shown,
            "rows/s",
            ours.failure or "both get the same body, a data frame in JSON",
        ),
        Row(
            "  the same rows sent to ours as one binary tensor of v2",
            ratio(measured[c.OURS_BINARY.name].rate, mlflow.rate),
            "×",
            note="MLflow's server takes JSON and CSV alone",
        ),
    ]


def latency(
    rate: float, ours: Mapping[float, float], beside: Mapping[str, float | str], requests: int
) -> list[Row]:
    """Milliseconds by share of the samples, at half of our throughput."""
    rest = {f"ours, p{100 * share:g}": value for share, value in ours.items() if share != 0.99}
    note = (
        f"raw samples of {requests:,} requests at a constant {rate:,.0f}/s, from when each was due"
    )
    name = "p99 at half of our throughput"
    return [Row(name, ours[0.99], "ms", at_most(2), rest | dict(beside), "ms", note)]


def _absolute(measured: Mapping[str, Measured]) -> Row:
    names = [c.OURS_NO_FSYNC.name, c.OURS_NAMED.name, c.OURS_SKLEARN.name]
    ours = measured[c.OURS.name]
    beside = {name: _shown(measured[name]) for name in names}
    name = "throughput, ONNX bundle, each row on the disk before its answer"
    return Row(name, ours.rate, RATE, None, beside, RATE, ours.failure)


def _against(
    measured: Mapping[str, Measured],
    name: str,
    ours: Server,
    peers: Sequence[Server],
    *,
    goal: float | None = None,
    beside: Sequence[Server] = (),
    note: str = "",
) -> Row:
    """Ours divided by the best of the peers; what is `beside` is shown and not counted."""
    own = measured[ours.name]
    shown = {one.name: _shown(measured[one.name]) for one in (ours, *peers, *beside)}
    complete = not any(measured[peer.name].failure for peer in peers)
    said = "; ".join(text for text in (own.failure, note) if text)
    value = ratio(own.rate, _best(measured, peers))
    bound = None if goal is None else at_least(goal)
    return Row(name, value, "×", bound, shown, RATE, said, complete)


def _best(measured: Mapping[str, Measured], servers: Sequence[Server]) -> float | None:
    rates = [measured[server.name].rate for server in servers]
    return max((rate for rate in rates if rate is not None), default=None)


def _short(one: Measured) -> str:
    """The reason stands in full beside the throughput."""
    return one.failure.partition(":")[0]


def _shown(one: Measured) -> float | str:
    return one.failure if one.rate is None else one.rate
