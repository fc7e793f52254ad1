"""Which windows Evidently's data drift preset calls drifted; runs in its environment.

Lines of standard input as for nannyml_alerts.py; so are the answers.
"""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ["DO_NOT_TRACK"] = "1"
warnings.filterwarnings("ignore")

import pandas as pd  # noqa: E402
from evidently import Report  # noqa: E402
from evidently.presets import DataDriftPreset  # noqa: E402


def main() -> None:
    for line in sys.stdin:
        folder, rows = json.loads(line)
        print(json.dumps(alerts(Path(folder), int(rows))), flush=True)


def alerts(folder: Path, rows: int) -> list:
    reference = pd.read_parquet(folder / "reference.parquet")
    windows = pd.read_parquet(folder / "windows.parquet")
    found = []
    for start in range(0, len(windows), rows):
        snapshot = Report([DataDriftPreset()]).run(windows.iloc[start : start + rows], reference)
        found.append([name for name, drifted in _columns(snapshot.dict()) if drifted])
    return found


def _columns(result: dict) -> list:
    columns = []
    for metric in result["metrics"]:
        name = metric.get("config", {}).get("column")
        if not name:
            continue
        method, threshold = metric["config"]["method"], metric["config"]["threshold"]
        value = float(metric["value"])
        columns.append((name, value < threshold if "p_value" in method else value >= threshold))
    return columns


if __name__ == "__main__":
    main()
