"""A segment is finished once nobody can write to it, whoever and wherever its writer is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from mlops_pipelines.monitor.segments import finished
from mlops_pipelines.serve.log import SegmentWriter

HEADER = {"schema": 1, "kind": "predictions"}

WRITER = """
import asyncio, os, sys, time
from pathlib import Path
from mlops_pipelines.serve.log import SegmentWriter
for number in range(2):
    writer = SegmentWriter(Path(sys.argv[1]), "m-v1", {"schema": 1, "kind": "predictions"})
    asyncio.run(writer.append_and_wait(b"[1]\\n"))
    if not number:
        writer.close()
print("kept", flush=True)
time.sleep(60)
"""


def test_what_is_still_locked_is_not_finished(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "m-v1", HEADER, fsync=False, rotate_bytes=60)
    for _ in range(3):
        asyncio.run(writer.append_and_wait(b"[1]\n" * 10))
    names = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert finished(tmp_path) == frozenset(names[:2])
    writer.close()
    assert finished(tmp_path) == frozenset(names)


def test_a_writer_lives_as_long_as_it_holds_its_segment(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"kept\n"
        # As its name would be were it process 1 of a container that has the folder mounted.
        for path in tmp_path.iterdir():
            path.rename(path.with_name(path.name.replace(f"-{process.pid}.", "-1.")))
        assert len(finished(tmp_path)) == 1
        process.kill()
    assert len(finished(tmp_path)) == 2


def test_a_locked_name_needs_no_process(tmp_path: Path) -> None:
    path = tmp_path / f"m-v1-1700000000000-{os.getpid()}.0123abcd.ndjson"
    path.write_text("{}\n")
    assert finished(tmp_path) == {path}
    other = tmp_path / "notes.txt.ndjson"
    other.write_text("hello")
    assert finished(tmp_path) == {path}
