"""NannyML's Jensen–Shannon distance of one window, by a calculator that was fitted and stored."""

import sys
from pathlib import Path

import nannyml
import pandas as pd
from clock import timed
from nannyml.io.store import FilesystemStore

nannyml.disable_usage_logging()


def main() -> None:
    reference = pd.read_parquet(sys.argv[1])
    fitted = nannyml.UnivariateDriftCalculator(
        column_names=list(reference.columns),
        continuous_methods=["jensen_shannon"],
        categorical_methods=["jensen_shannon"],
        chunk_number=10,
    ).fit(reference)
    store = FilesystemStore(root_path=str(Path(sys.argv[1]).parent / "nannyml"))
    store.store(fitted, filename="fitted.pkl")
    del fitted, reference
    with timed():
        found = store.load(filename="fitted.pkl")
        found._chunker = nannyml.chunk.CountBasedChunker(chunk_number=1)
        found.calculate(pd.read_parquet(sys.argv[2])).to_df()


main()
