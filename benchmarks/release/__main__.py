"""`make bench-release`: versions as images behind a gateway, on a real Docker engine."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import WORK, Row, at_most, machine, result, say, table, write_result
from benchmarks.environments import PeerError
from benchmarks.release.engine import Engine, opened
from benchmarks.release.errors import RefusedError, SetupError
from benchmarks.release.failures import failing_rows, kill_rows
from benchmarks.release.images import image_rows
from benchmarks.release.moves import move_rows
from benchmarks.release.start import start_rows
from benchmarks.release.world import World
from mlops_pipelines.errors import MlopsError


@dataclass(frozen=True)
class Sizes:
    """How often everything is done."""

    versions: int
    moves: int
    failures: int
    kills: int
    builds: int


FULL = Sizes(versions=5, moves=20, failures=5, kills=20, builds=3)
QUICK = Sizes(versions=2, moves=2, failures=2, kills=2, builds=1)

PARTS: dict[str, Callable[[World, Path, Sizes], list[Row]]] = {
    "start": lambda world, scratch, sizes: start_rows(world, scratch, sizes.versions),
    "moves": lambda world, scratch, sizes: move_rows(world, scratch, sizes.moves),
    "failing": lambda world, scratch, sizes: failing_rows(world, scratch, sizes.failures),
    "kills": lambda world, scratch, sizes: kill_rows(world, scratch, sizes.kills),
    "images": lambda world, scratch, sizes: image_rows(world, scratch, sizes.builds),
}


def main() -> int:
    """0 where every goal holds, 1 where one is missed, 2 where it could not be measured."""
    arguments = _arguments()
    # What was started must end with this process, whoever ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    WORK.mkdir(parents=True, exist_ok=True)
    # The gateway's socket and the containers' folders: a short path, that others may pass through.
    scratch = Path(tempfile.mkdtemp(prefix="release-", dir=WORK))
    began, sizes = time.monotonic(), QUICK if arguments.quick else FULL
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    try:
        with opened() as engine:
            facts = machine(scratch) | {"engine": engine.client.version()["Version"]}
            rows = _rows(engine, scratch, sizes, arguments.only)
            base = engine.base
    except SetupError as error:
        print(f"bench-release: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    about = {
        "quick": arguments.quick,
        "parts": arguments.only,
        "sizes": dataclasses.asdict(sizes),
        "base_image": base,
        "load_average": os.getloadavg()[2],
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    path = write_result("release", result(rows, facts, about))
    say("\n" + table(rows))
    say("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    if arguments.quick:
        say("--quick: everything twice, and no more: to see that all works, not to quote.")
    if set(arguments.only) != set(PARTS):
        say(f"Only {', '.join(arguments.only)} of {', '.join(PARTS)}.")
    missed = [row for row in rows if row.holds is False]
    say(f"{len(missed)} goals missed after {about['minutes']} minutes; see {path}")
    return 1 if missed else 0


def _rows(engine: Engine, scratch: Path, sizes: Sizes, parts: list[str]) -> list[Row]:
    world = World(engine, scratch / "world")
    rows = []
    for name in parts:
        say(f"\n{name} ...")
        try:
            rows += PARTS[name](world, scratch, sizes)
        except (MlopsError, PeerError, RefusedError) as error:
            say(f"{name}: {error}")
            rows.append(Row(name, None, "", at_most(0), note=str(error)))
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "make bench-release",
        description=__doc__,
        epilog='Example: make bench-release ARGS="--quick --only start moves"',
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(PARTS),
        default=list(PARTS),
        metavar="NAME",
        help=f"only these parts, in this order: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="everything once or twice: to see that all works, not to quote",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
