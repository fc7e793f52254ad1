"""`make bench-estimates`: accuracy as it is estimated without labels, beside NannyML's CBPE.

Each estimator learns from a reference with labels, and estimates the accuracy of windows that come
later. Ours is stated twice: from the reference alone, as the peer works, and as a night shows it,
corrected by the windows before the last one, whose labels are in by then.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import WORK, Row, at_least, at_most, machine, ratio, result, say
from benchmarks.common import table as shown
from benchmarks.common import write_result as write
from benchmarks.environments import PeerError, environment
from benchmarks.estimates.streams import streams
from mlops_pipelines.measure.estimator import fit_estimator
from mlops_pipelines.measure.outputs import Outputs
from mlops_pipelines.monitor.track_record import Scored, track_record

NANNYML = Path(__file__).parent / "peers" / "nannyml_cbpe.txt"
PEER = Path(__file__).parent / "peers" / "nannyml_cbpe.py"
ALL = ("accuracy", "precision", "recall", "f1", "roc_auc")
FASTER = 10.0


def main() -> int:
    """0 where every goal holds, 1 where one is missed."""
    quick = _quick()
    WORK.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="estimates-", dir=WORK))
    rounds = 2 if quick else 3
    try:
        groups = _write_streams(scratch, quick)
        ours = {name: _ours(scratch, name, rounds) for name in groups}
        theirs = _theirs(scratch, rounds, ("accuracy",))
        with_all = _theirs(scratch, rounds, ALL)
        facts = machine(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    rows = [*_errors(groups, ours, theirs), *_speed(ours, theirs, with_all)]
    path = write("estimates", result(rows, facts, {"quick": quick, "streams": len(groups)}))
    say("\n" + shown(rows))
    say("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    missed = [row for row in rows if row.holds is False]
    say(f"{len(missed)} goals missed; see {path}")
    return 1 if missed else 0


def _quick() -> bool:
    parser = argparse.ArgumentParser("make bench-estimates", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer streams: not to quote")
    return bool(parser.parse_args().quick)


def _write_streams(folder: Path, quick: bool) -> dict[str, str]:
    """Every stream as two files below `folder`: the group of each by the name of its files."""
    groups = {}
    for group, name, (reference, windows) in streams(quick):
        stem = name.replace(" ", "-").replace(",", "")
        reference.to_parquet(folder / f"{stem}.reference.parquet")
        windows.to_parquet(folder / f"{stem}.windows.parquet")
        groups[stem] = group
        say(f"{name}: {len(reference):,} reference rows, {windows['window'].nunique()} windows")
    return groups


def _ours(folder: Path, name: str, rounds: int) -> dict[str, Any]:
    reference = pd.read_parquet(folder / f"{name}.reference.parquet")
    frame = pd.read_parquet(folder / f"{name}.windows.parquet")
    windows = [part for _, part in frame.groupby("window")]

    def estimate() -> list[Any]:
        features = pd.DataFrame(index=reference.index)
        truth = reference["truth"].to_numpy()
        estimator = fit_estimator(features, (), truth, _outputs(reference), (0, 1))
        return [estimator.estimates(part, _outputs(part))["accuracy"] for part in windows]

    found, seconds = estimate(), []
    for _ in range(rounds):
        began = time.perf_counter()
        found = estimate()
        seconds.append(time.perf_counter() - began)
    realised = [float((part["truth"] == part["prediction"]).mean()) for part in windows]
    inside = [e.low <= real <= e.high for e, real in zip(found, realised, strict=True)]
    return {
        "accuracy": [each.value for each in found],
        "shown": _corrected(found, realised),
        "realised": realised,
        "inside": float(np.mean(inside)),
        "seconds": min(seconds),
    }


def _corrected(found: list[Any], realised: list[float]) -> list[float]:
    """As each night shows it: corrected by the windows whose labels are in, the last is not."""
    first = date(2026, 1, 1)
    scored = [
        Scored(
            (first + timedelta(days=place)).isoformat(),
            real - each.value,
            (each.high - each.low) / 2,
        )
        for place, (each, real) in enumerate(zip(found, realised, strict=True))
    ]
    return [
        found[place].with_error(track_record(scored[: max(0, place - 1)]).shift, 0.0, 1.0).value
        for place in range(len(found))
    ]


def _outputs(frame: pd.DataFrame) -> Outputs:
    return Outputs(frame["prediction"].to_numpy(), frame["score"].to_numpy())


def _theirs(folder: Path, rounds: int, metrics: tuple[str, ...]) -> dict[str, Any]:
    """What it said of every stream; nothing where it failed, and that is told."""
    try:
        return _asked(folder, rounds, metrics)
    except PeerError as error:
        say(f"NannyML: {error}")
        return {}


def _asked(folder: Path, rounds: int, metrics: tuple[str, ...]) -> dict[str, Any]:
    python = environment(NANNYML)
    say(f"NannyML: {', '.join(metrics)} …")
    done = subprocess.run(
        [str(python), str(PEER), str(folder), str(rounds), *metrics],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PeerError((done.stderr.strip().splitlines() or ["it failed"])[-1])
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _errors(groups: dict[str, str], ours: dict[str, Any], theirs: dict[str, Any]) -> list[Row]:
    rows = []
    for group in dict.fromkeys(groups.values()):
        names = [name for name, other in groups.items() if other == group]
        peer = _mean_error(names, theirs, "accuracy", ours)
        peers: dict[str, float | str] = {"NannyML CBPE": "not measured" if peer is None else peer}
        inside = np.mean([ours[name]["inside"] for name in names])
        alone = _mean_error(names, ours, "accuracy", ours)
        rows.append(
            Row(
                f"estimate − realised accuracy, {group}",
                _mean_error(names, ours, "shown", ours),
                "",
                None if peer is None else at_most(peer),
                {**peers, "ours, from the reference alone": alone or 0.0},
                note=f"mean absolute error per window; {inside:.0%} of the windows lie in the "
                "interval from the reference alone",
                complete=peer is not None,
            )
        )
    return rows


def _mean_error(
    names: list[str], said: dict[str, Any], what: str, truth: dict[str, Any]
) -> float | None:
    if any(name not in said for name in names):
        return None
    errors = [
        np.abs(np.array(said[name][what]) - np.array(truth[name]["realised"])).mean()
        for name in names
    ]
    return float(np.mean(errors))


def _speed(ours: dict[str, Any], theirs: dict[str, Any], with_all: dict[str, Any]) -> list[Row]:
    own = sum(each["seconds"] for each in ours.values())
    rows = []
    for what, said in (("accuracy alone", theirs), ("the same five metrics", with_all)):
        other = sum(each["seconds"] for each in said.values()) if said else None
        peers: dict[str, float | str] = {"NannyML CBPE": "not measured" if other is None else other}
        rows.append(
            Row(
                f"times as fast as NannyML with {what}, ours five with intervals",
                ratio(other, own),
                "×",
                at_least(FASTER),
                {**peers, "ours": own},
                "s",
                f"learned and every window estimated; best of the rounds, {len(ours)} streams",
                complete=other is not None,
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
