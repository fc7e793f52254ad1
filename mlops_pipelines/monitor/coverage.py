"""How many of a day's rows have their label yet, version by version, and what they say so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mlops_pipelines.spec import ModelSpec

COMPLETE = 0.9
"""The share of labelled rows below which what a day shows is provisional."""

_MOST_CLASSES = 4


@dataclass(frozen=True)
class Covered:
    """How many of the rows that one version answered have a label."""

    rows: int
    labelled: int

    @property
    def share(self) -> float:
        """0 to 1; 0 where there are no rows."""
        return self.labelled / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class DayCoverage:
    """The coverage of a day by version; `so_far` says what the labels of `version` are."""

    version: int
    versions: Mapping[int, Covered]
    so_far: str

    @property
    def own(self) -> Covered:
        """That of the version that the day is judged by."""
        return self.versions.get(self.version, Covered(0, 0))

    @property
    def provisional(self) -> bool:
        """Whether so many labels are missing that they may still change what the day shows."""
        return self.own.labelled > 0 and self.own.share < COMPLETE

    @property
    def sentence(self) -> str:
        """Such as `coverage 71 % of 1,204 rows; labels so far are 97 % 0, 3 % 1`."""
        return f"coverage {self.own.share:.0%} of {self.own.rows:,} rows{self.so_far}"

    def metrics(self) -> dict[str, float]:
        """What is logged of the night."""
        return {"answered": float(self.own.rows), "coverage": self.own.share}

    def markdown(self) -> str:
        """A table with a line per version."""
        lines = ["| version | rows | labelled | coverage |", "|---|---|---|---|"]
        for version, each in sorted(self.versions.items()):
            lines.append(f"| {version} | {each.rows} | {each.labelled} | {each.share:.0%} |")
        return "\n".join(lines)


def day_coverage(
    spec: ModelSpec, rows: pd.DataFrame, labelled: pd.DataFrame, version: int
) -> DayCoverage:
    """The coverage of a day: its `rows`, and those of them that have a `label`."""
    answered = rows["model_version"].value_counts()
    known = labelled["model_version"].value_counts()
    versions = {
        int(number): Covered(int(answered.get(number, 0)), int(known.get(number, 0)))
        for number in answered.index.union(known.index)
    }
    own = labelled.loc[labelled["model_version"] == version, "label"]
    return DayCoverage(version, versions, _so_far(spec, own))


def _so_far(spec: ModelSpec, labels: pd.Series) -> str:
    if labels.empty:
        return ""
    if spec.task == "regression":
        numbers = pd.to_numeric(labels, errors="coerce")
        return f"; labels so far are {numbers.mean():.4g} on average"
    shares = labels.astype(object).map(str).value_counts(normalize=True)
    shown = [f"{share:.0%} {name}" for name, share in shares.iloc[:_MOST_CLASSES].items()]
    rest = f", and {len(shares) - _MOST_CLASSES} more" if len(shares) > _MOST_CLASSES else ""
    return f"; labels so far are {', '.join(shown)}{rest}"
