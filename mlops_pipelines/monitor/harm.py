"""Whether drift does harm: a warning where it moves no estimate, an alarm where it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mlops_pipelines.measure.attribution import ColumnHarm

Status = Literal["ok", "alarm", "insufficient_data"]
Level = Literal["none", "warning", "alarm", "unknown"]

_NAMES = 3


@dataclass(frozen=True)
class Harm:
    """What the drift of a day means: `level`, and why, with the columns the worst first."""

    level: Level
    sentence: str
    columns: tuple[ColumnHarm, ...]

    def markdown(self) -> str:
        """The sentence, and the columns by what their drift adds to the expected loss."""
        lines = [self.sentence]
        if self.columns:
            lines += ["", "| column | adds to the expected loss | share | most by |"]
            lines.append("|---" * 4 + "|")
        for each in self.columns:
            share = f"{each.share:.0%}" if each.added > 0 else ""
            lines.append(
                f"| {_cell(each.column)} | {each.added:+.4g} | {share} | {_cell(each.cell)} |"
            )
        return "\n".join(lines)


def harm(
    drift: Status,
    drifted: Sequence[str],
    performance: Status,
    basis: str,
    columns: Sequence[ColumnHarm],
) -> Harm:
    """What the verdict on drift means beside that on performance, realised or estimated (`basis`).

    `drifted` names the columns that drifted, `columns` is what `attribution.harmful_columns` found
    of all. Drift without harm is a warning, with harm an alarm; where performance is not known,
    neither is said.
    """
    ranked = tuple(columns)
    if drift != "alarm":
        said = "no column drifted" if drift == "ok" else "too few rows to see drift"
        return Harm("none" if drift == "ok" else "unknown", said, ranked)
    named = f"{len(drifted)} columns drifted" if len(drifted) != 1 else f"{drifted[0]} drifted"
    if performance == "insufficient_data":
        return Harm("unknown", f"{named}; whether that does harm is not known yet", ranked)
    if performance == "ok":
        return Harm("warning", f"{named}; {basis} performance is unharmed", ranked)
    moved = set(drifted)
    guilty = [each for each in ranked if each.column in moved and each.added > 0]
    if not guilty:
        blameless = "but not because of what drifted"
        return Harm("alarm", f"{named}; {basis} performance fell, {blameless}", ranked)
    most = ", ".join(f"{each.column} ({each.share:.0%})" for each in guilty[:_NAMES])
    return Harm("alarm", f"{named}; {basis} performance fell, most with {most}", ranked)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
