"""`make bench-serving`: the server in a bundle beside its peers, each in its own environment."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import WORK, machine, result, say, table, write_result
from benchmarks.serving.model import BuildError, build
from benchmarks.serving.parts import FULL, PARTS, QUICK, Run, run_part
from benchmarks.serving.wrk import LoadError, wrk_command


def main() -> int:
    """0 where every goal holds, 1 where one is missed, 2 where it could not be measured."""
    arguments = _arguments()
    try:
        wrk_command("", Path(), 1)
    except LoadError as error:
        print(f"bench-serving: {error}", file=sys.stderr)
        return 2
    WORK.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=WORK))
    began = time.monotonic()
    try:
        run = Run(build(scratch), QUICK if arguments.quick else FULL, scratch)
        facts = machine(scratch)
        rows = [row for name in arguments.only for row in run_part(name, run)]
    except BuildError as error:
        print(f"bench-serving: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    about = {
        "quick": arguments.quick,
        "parts": arguments.only,
        "sizes": dataclasses.asdict(run.sizes),
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    path = write_result("serving", result(rows, facts, about))
    say("\n" + table(rows))
    say("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    if arguments.quick:
        say("--quick: one short round, fewer kills and bad requests, 30 s instead of 5 minutes.")
    if set(arguments.only) != set(PARTS):
        say(f"Only {', '.join(arguments.only)} of {', '.join(PARTS)}.")
    missed = [row for row in rows if row.holds is False]
    say(f"{len(missed)} goals missed after {about['minutes']} minutes; see {path}")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "make bench-serving",
        description=__doc__,
        epilog='Example: make bench-serving ARGS="--quick --only throughput latency"',
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
        help="one round of 2 s, 5 kills, 2,000 bad requests, 30 s of full load: "
        "to see that all works, not to quote",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
