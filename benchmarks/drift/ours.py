"""Ours: a reference learned once; a window counted by DuckDB in its bins, and judged."""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent / "peers"))

from clock import timed

from mlops_pipelines.measure.drift import drift_verdict
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.monitor.counting import count_parquet
from mlops_pipelines.monitor.day_table import MEMORY


def learn(reference: str, learned: str) -> None:
    import pandas as pd

    from mlops_pipelines.measure.profile import Column, reference_profile

    frame = pd.read_parquet(reference)
    columns = [
        Column(name, "numeric" if name.startswith("number") else "categorical") for name in frame
    ]
    Path(learned).write_bytes(Reference.of(frame, reference_profile(frame, columns)).to_bytes())


def judge(learned: str, window: str) -> None:
    import duckdb

    # The peers are imported before the clock, too.
    for needed in ("ibis.backends.duckdb", "pyarrow.parquet", "scipy.special"):
        importlib.import_module(needed)
    with timed():
        reference = Reference.from_bytes(Path(learned).read_bytes())
        settings = {"memory_limit": MEMORY, "preserve_insertion_order": False}
        with duckdb.connect(config=settings) as connection:
            whole, _ = count_parquet(connection, window, 1, reference.profile)
        drift_verdict(reference, whole, false_alarms_per_year=1)


{"learn": learn, "judge": judge}[sys.argv[1]](*sys.argv[2:])
