"""whylogs' profile of one window, compared with the reference's, which was made and stored."""

import os
import sys
from pathlib import Path

os.environ["WHYLOGS_NO_ANALYTICS"] = "True"

import pandas as pd
import whylogs
from clock import timed
from whylogs.core.view.dataset_profile_view import DatasetProfileView
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores


def main() -> None:
    stored = str(Path(sys.argv[1]).parent / "whylogs.bin")
    whylogs.log(pd.read_parquet(sys.argv[1])).view().write(stored)
    with timed():
        reference = DatasetProfileView.read(stored)
        window = whylogs.log(pd.read_parquet(sys.argv[2])).view()
        calculate_drift_scores(target_view=window, reference_view=reference, with_thresholds=True)


main()
