"""Evidently's drift preset over both windows; it keeps nothing of a reference, so reads it too."""

import sys

import pandas as pd
from clock import timed
from evidently import Report
from evidently.presets import DataDriftPreset


def main() -> None:
    with timed():
        reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
        Report([DataDriftPreset()]).run(current, reference).dict()


main()
