"""Which windows NannyML's univariate drift detection raises an alert on; runs in its environment.

Arguments: a folder with `reference.parquet` and `windows.parquet` (equal windows, one after the
other), the rows of a window. Prints a JSON list of the alerts (columns) of each window.
"""

import json
import logging
import os
import sys
import warnings
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import nannyml  # noqa: E402
import pandas as pd  # noqa: E402


def main() -> None:
    for line in sys.stdin:
        folder, rows = json.loads(line)
        print(json.dumps(alerts(Path(folder), int(rows))), flush=True)


def alerts(folder: Path, rows: int) -> list:
    reference = pd.read_parquet(folder / "reference.parquet")
    windows = pd.read_parquet(folder / "windows.parquet")
    found: list = [[] for _ in range(len(windows) // rows)]
    for column in reference.columns:
        try:
            calculator = nannyml.UnivariateDriftCalculator(
                column_names=[column], chunk_size=rows
            ).fit(reference)
            result = calculator.calculate(windows).filter(period="analysis").to_df()
        except Exception as error:  # noqa: BLE001
            print(f"{column}: {error!r}"[:200], file=sys.stderr)
            continue
        alert = result.xs("alert", axis=1, level=2).any(axis=1)
        for place, raised in enumerate(alert):
            if raised:
                found[place].append(column)
    return found


if __name__ == "__main__":
    main()
