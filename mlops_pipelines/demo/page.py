"""How the story is printed: a line for each step with its time, a bar on what takes long."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from mlops_pipelines.waiting import bar


def brief(text: str) -> str:
    """The first clause of a longer reason."""
    return text.partition(";")[0]


class StoryError(Exception):
    """Something that the story tells did not happen."""


@dataclass
class Page:
    """Where the story is told, and what was seen so far."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    steps: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def title(self, text: str) -> None:
        """A new part of the story."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def staged(self, text: str) -> None:
        """What is staged, and not the product's doing."""
        self.console.print(f"  [yellow]staged[/yellow]  {text}", soft_wrap=True)

    @contextmanager
    def step(self, name: str, says: str) -> Iterator[dict[str, Any]]:
        """One step; `says` may be replaced by what the body puts under `says`."""
        began, seen = time.monotonic(), dict[str, Any]()
        with bar(says, self.console):
            yield seen
        seconds = time.monotonic() - began
        said = seen.pop("says", says)
        self.steps.append({"step": name, "seconds": round(seconds, 2), "says": said, **seen})
        self.console.print(f"  [green]✓[/green] {seconds:5.1f} s  {said}", soft_wrap=True)

    def expect(self, condition: bool, what: str) -> None:
        """Go on only if `condition` holds; raises StoryError with `what` did not happen."""
        if not condition:
            raise StoryError(what)

    def versions(self, rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> None:
        """The table of versions at the end."""
        table = Table(title="Versions", title_justify="left", title_style="bold")
        for column in ("version", *metrics, "gates", "deployed", "rolled back"):
            table.add_column(column, overflow="fold")
        for row in rows:
            version = f"{row['version']} {' '.join(row['aliases'])}".strip()
            numbers = [f"{row['metrics'].get(name, float('nan')):.4f}" for name in metrics]
            deployed = row["deployed"][11:19] if row["deployed"] else "never"
            table.add_row(
                version, *numbers, brief(row["gates"]), deployed, brief(row["rolled_back"])
            )
        self.console.print()
        self.console.print(table)

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return time.monotonic() - self.started
