"""Evidently's drift preset over both windows; it keeps no profile of a reference."""

import sys

import pandas as pd
from clock import timed
from evidently import Report
from evidently.presets import DataDriftPreset


def main() -> None:
    reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
    with timed():
        Report([DataDriftPreset()]).run(current, reference).dict()


main()
