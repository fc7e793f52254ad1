"""Each peer in a virtual environment of its own, made once from its pinned requirements."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.common import WORK, say


class PeerError(Exception):
    """A peer cannot be installed or started; `str()` says why, in one line."""


def environment(requirements: Path, below: Path = WORK / "envs") -> Path:
    """The Python of the environment with these requirements. Raises PeerError."""
    folder = below / requirements.stem
    python = folder / "bin" / "python"
    ready = folder / "ready"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if ready.exists() and ready.read_text() == wanted:
        return python
    say(f"Making the environment of {requirements.stem} (once; a minute or two) ...")
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "-r", str(requirements)]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            wrong = [line for line in done.stderr.splitlines() if "ERROR" in line]
            reason = (wrong or done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise PeerError(f"not installed: {reason.removeprefix('ERROR: ')}")
    ready.write_text(wanted)
    return python
