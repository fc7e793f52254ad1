"""whylogs' profile of one window, compared with the reference's, which was made before."""

import os
import sys

os.environ["WHYLOGS_NO_ANALYTICS"] = "True"

import pandas as pd
import whylogs
from clock import timed
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores


def main() -> None:
    reference = whylogs.log(pd.read_parquet(sys.argv[1])).view()
    with timed():
        window = whylogs.log(pd.read_parquet(sys.argv[2])).view()
        calculate_drift_scores(target_view=window, reference_view=reference, with_thresholds=True)


main()
