"""How far a run is, on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from eventbus.demo.input import Batch, Input, Problem

__all__ = ["Watched"]

STEP: Final = 10_000
"""Orders between two lines where there is no terminal."""


class Watched:
    """A source that tells how many orders were read, and of each bad line."""

    def __init__(self) -> None:
        self.source: Input | None = None
        self.orders = 0
        self.bad_lines = 0
        self._said = 0
        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("orders"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("orders", total=None)

    def __enter__(self) -> Watched:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
        if self.source is not None:
            self.source.close()

    def report(self, problem: Problem) -> None:
        """Say what is wrong with a line, above the bar if there is one."""
        self.bad_lines += 1
        text = f"line {problem.line}: {problem.reason}"
        if self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    async def read(self) -> Batch | None:
        """The next batch of the source, counted."""
        assert self.source is not None
        batch = await self.source.read()
        if batch is not None:
            self.orders += len(batch.orders)
            if self._console.is_terminal:
                self._bar.update(self._task, completed=self.orders, total=self.source.expected)
            elif self.orders - self._said >= STEP:
                self._said = self.orders
                print(f"{self.orders:,} orders read", file=sys.stderr, flush=True)
        return batch
