"""Shows people who wait which step is at work, and how far it is: a bar on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mlops_pipelines.logs import watched


@contextmanager
def bar(says: str, console: Console | None = None) -> Iterator[None]:
    """A bar below `says` while the block runs; it is gone afterwards."""
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
