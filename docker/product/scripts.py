"""Writes the commands of the packages in the folders named first, into the folder named last."""

from __future__ import annotations

import sys
from importlib.metadata import distributions
from pathlib import Path

SCRIPT = """\
#!/usr/bin/env python3
import sys
from {module} import {attribute}
sys.exit({attribute}())
"""

*folders, target = sys.argv[1:]
Path(target).mkdir(parents=True, exist_ok=True)
for distribution in distributions(path=folders):
    for entry in distribution.entry_points.select(group="console_scripts"):
        path = Path(target) / entry.name
        path.write_text(SCRIPT.format(module=entry.module, attribute=entry.attr))
        path.chmod(0o755)
