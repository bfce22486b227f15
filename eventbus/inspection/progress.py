"""How far long work is: a bar on standard error, if that is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

__all__ = ["Told", "progress"]

Told = Callable[[int, "int | None"], None]
"""Told how much is done, and of how much if that is known."""


@contextmanager
def progress(what: str, alone: bool = True) -> Iterator[Told]:
    """Show the progress of some work, if nothing else is shown meanwhile."""
    console = Console(stderr=True)
    if not console.is_terminal or not alone:
        yield _nothing
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _nothing(done: int, total: int | None) -> None:
    """Nobody looks."""
