"""NannyML's Jensen–Shannon distance of one window; fitted to the reference before the clock."""

import sys

import nannyml
import pandas as pd
from clock import timed

nannyml.disable_usage_logging()


def main() -> None:
    reference = pd.read_parquet(sys.argv[1])
    found = nannyml.UnivariateDriftCalculator(
        column_names=list(reference.columns),
        continuous_methods=["jensen_shannon"],
        categorical_methods=["jensen_shannon"],
        chunk_number=10,
    ).fit(reference)
    with timed():
        found._chunker = nannyml.chunk.CountBasedChunker(chunk_number=1)
        found.calculate(pd.read_parquet(sys.argv[2])).to_df()


main()
