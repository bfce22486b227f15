"""What a figure is, and how it is measured: both sides in turn, several rounds, the median of the ratios of the rounds.

A ratio pairs two runs that followed each other, so that a machine that slows down slows both. Which side goes first
alternates, the first round only warms up (CPython 3.11 specialises code as it runs) and is thrown away.
"""

from __future__ import annotations

import enum
import gc
import statistics
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

# Does the work so many times; returns what it cost: seconds in all or, for a size, bytes per message.
Side: TypeAlias = Callable[[int], float]


class Kind(enum.Enum):
    """What the number of a figure says."""

    THROUGHPUT = "throughput"  # their seconds over ours: higher is better
    COST = "cost"  # our seconds over theirs: lower is better
    SIZE = "bytes"  # our bytes, there is no peer: lower is better
    SECONDS = "seconds"  # the same of our seconds
    MEMORY = "megabytes"  # and of our megabytes

    @property
    def higher_is_better(self) -> bool:
        return self is Kind.THROUGHPUT


@attrs.frozen
class Figure:
    """Two sides that do the same work, and what their ratio must be. `must` is None when it is shown for comparison."""

    name: str
    peer: str
    ours: Side
    theirs: Side | None
    must: float | None
    aim: float | None
    kind: Kind = Kind.THROUGHPUT
    count: int = 20_000
    smoke_count: int = 600
    most_rounds: int = 1_000

    @property
    def label(self) -> str:
        """What tells it from all others."""
        return f"{self.name} / {self.peer or 'by itself'}"


@attrs.frozen
class Plan:
    """How thoroughly to measure. `smoke` runs tiny counts, to see that the figures run at all."""

    rounds: int = 15
    smoke: bool = False

    def rounds_of(self, figure: Figure) -> int:
        return min(self.rounds, figure.most_rounds)

    def count_of(self, figure: Figure) -> int:
        return figure.smoke_count if self.smoke else figure.count


class Verdict(enum.Enum):
    """How a figure stands to what was asked of it."""

    AIM = "aim"
    MUST = "must"
    SHORT = "SHORT"
    SHOWN = "-"
    FAILED = "FAILED"


@attrs.frozen
class Result:
    """The numbers of the rounds of one figure, or why it did not run."""

    figure: Figure
    rounds: tuple[float, ...] = ()
    error: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        return quartiles(self.rounds)

    @property
    def verdict(self) -> Verdict:
        figure = self.figure
        if self.error is not None:
            return Verdict.FAILED
        if figure.must is None:
            return Verdict.SHOWN
        if figure.aim is not None and reaches(figure.kind, self.median, figure.aim):
            return Verdict.AIM
        return Verdict.MUST if reaches(figure.kind, self.median, figure.must) else Verdict.SHORT


def reaches(kind: Kind, number: float, line: float) -> bool:
    """Whether a number is on the good side of a line, or on it."""
    return number >= line if kind.higher_is_better else number <= line


def quartiles(numbers: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile; of a single number, itself twice."""
    if len(numbers) < 2:
        return numbers[0], numbers[0]
    first, _, third = statistics.quantiles(numbers, n=4, method="inclusive")
    return first, third


def ratio(kind: Kind, ours: float, theirs: float) -> float:
    """Ours over theirs, of throughput or of cost, from what each side cost."""
    return theirs / ours if kind.higher_is_better else ours / theirs


def run(side: Side, count: int) -> float:
    """One run of one side, from a swept heap; the collector stays on while it runs."""
    gc.collect()
    return side(count)


def one_round(figure: Figure, count: int, ours_first: bool) -> float:
    """The number of one round: both sides, one right after the other."""
    if figure.theirs is None:
        return run(figure.ours, count)
    if ours_first:
        ours, theirs = run(figure.ours, count), run(figure.theirs, count)
    else:
        theirs, ours = run(figure.theirs, count), run(figure.ours, count)
    return ratio(figure.kind, ours, theirs)


def measure(figure: Figure, plan: Plan) -> Result:
    """All rounds of a figure. One that fails to run, or loses a message, is a result too: it says why."""
    count = plan.count_of(figure)
    try:
        numbers = [one_round(figure, count, turn % 2 == 0) for turn in range(plan.rounds_of(figure) + 1)]
    except Exception as error:  # the other figures are still worth having
        return Result(figure, error=explain(error))
    return Result(figure, rounds=tuple(numbers[1:]))


def explain(error: BaseException) -> str:
    """An error in one line, that of a task group by its first cause."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
