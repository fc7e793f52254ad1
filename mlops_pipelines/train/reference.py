"""What a version's windows are compared with: the rows that it learned, and what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_pipelines.measure.null import Reference
    from mlops_pipelines.train.fit import Fitted
    from mlops_pipelines.train.snapshot import Snapshot, SnapshotRows

REFERENCE = "reference.npz"
"""The file of a version that its reference lies in; older ones have only their profile."""


def learn_reference(rows: SnapshotRows, snapshot: Snapshot, fitted: Fitted) -> Reference:
    """The training rows' columns, and the answers on the holdout: those no model has learned.

    It knows the days or weeks of the rows where the declaration names their time, and a reference
    of each segment. The answers, which the training rows do not have, are drawn from their counts.
    """
    import pandas as pd

    from mlops_pipelines.measure.null import Reference
    from mlops_pipelines.measure.profile import Column, Kind, Profile, reference_profile
    from mlops_pipelines.train.snapshot import profile_columns

    features = reference_profile(rows.train, profile_columns(snapshot))
    kind: Kind = "numeric" if snapshot.task == "regression" else "categorical"
    answers: dict[str, Any] = {"prediction": fitted.outputs.prediction}
    watched = [Column("prediction", kind)]
    if fitted.outputs.score is not None and snapshot.task != "regression":
        answers["score"] = fitted.outputs.score
        watched.append(Column("score", "numeric"))
    answered = reference_profile(pd.DataFrame(answers), watched)
    profile = Profile(features.n, (*features.columns, *answered.columns))
    times = None if snapshot.event_time is None else rows.train[snapshot.event_time]
    return Reference.of(rows.train, profile, times, snapshot.segments)
