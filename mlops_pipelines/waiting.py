"""Shows people who wait which step is at work, and how far it is: a bar on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops_pipelines.logs import watched

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def bar(says: str, console: Console | None = None) -> Iterator[None]:
    """A bar below `says` while the block runs; it is gone afterwards."""
    # Most commands show none, and rich costs as much as the rest of the command line to import.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = console or Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20, pulse_style="cyan"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as shown:
        task = shown.add_task(says, total=None)

        def tell(name: str, share: float | None) -> None:
            total = None if share is None else 1.0
            shown.update(task, description=f"{says}: {name}", completed=share or 0, total=total)

        with watched(tell):
            yield
