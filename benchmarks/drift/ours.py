"""Ours: a reference learned once; a window counted in its bins, and judged."""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent / "peers"))

from clock import timed

from mlops_pipelines.measure.drift import drift_verdict
from mlops_pipelines.measure.null import Reference
from mlops_pipelines.monitor.null_files import NullFiles
from mlops_pipelines.monitor.parquet_counts import count_parquet
from mlops_pipelines.store import Store


def learn(reference: str, learned: str) -> None:
    import pandas as pd

    from mlops_pipelines.measure.profile import Column, reference_profile

    frame = pd.read_parquet(reference)
    columns = [
        Column(name, "numeric" if name.startswith("number") else "categorical") for name in frame
    ]
    Path(learned).write_bytes(Reference.of(frame, reference_profile(frame, columns)).to_bytes())


def judge(learned: str, window: str) -> None:
    # The peers are imported before the clock, too.
    for needed in ("pyarrow.parquet", "scipy.special"):
        importlib.import_module(needed)
    with timed():
        reference = Reference.from_bytes(Path(learned).read_bytes())
        # As a night does: what the first window of a size drew lies in the store for the next.
        reference.keep_nulls(NullFiles(Store(f"{learned}.store"), "bench", 1))
        whole, _ = count_parquet(window, {1: (reference.profile, {})})[1]
        drift_verdict(reference, whole, false_alarms_per_year=1)


def count(learned: str, window: str, engine: str) -> None:
    """Counting alone: as the store's files are counted, or as a warehouse is asked to."""
    import ibis

    from mlops_pipelines.monitor.counting import count_table

    for needed in ("pyarrow.parquet", "ibis.backends.duckdb"):
        importlib.import_module(needed)
    profile = Reference.from_bytes(Path(learned).read_bytes()).profile
    with timed():
        if engine == "duckdb":
            count_table(ibis.duckdb.connect().read_parquet(window), 1, profile)
        else:
            count_parquet(window, {1: (profile, {})})


{"learn": learn, "judge": judge, "count": count}[sys.argv[1]](*sys.argv[2:])
