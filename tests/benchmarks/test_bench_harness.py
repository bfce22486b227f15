"""The arithmetic of the benchmark harness, with sides whose cost is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.harness import Figure, Kind, Plan, Result, Side, Verdict, measure, quartiles, ratio


def costing(costs: Sequence[float], calls: list[str], name: str) -> Side:
    """A side that costs what it is told, run by run, and notes that it was called."""
    remaining = iter(costs)

    def side(count: int) -> float:
        calls.append(f"{name} {count}")
        return next(remaining)

    return side


def figure(ours: Side, theirs: Side | None, kind: Kind = Kind.THROUGHPUT, most_rounds: int = 99) -> Figure:
    return Figure("a figure", "a peer", ours, theirs, 0.5, 0.8, kind, count=100, smoke_count=7, most_rounds=most_rounds)


def test_the_median_is_of_the_ratios_of_the_rounds_and_the_first_round_does_not_count() -> None:
    measured = measure(figure(costing([9, 2, 4, 2], [], "ours"), costing([1, 2, 2, 4], [], "theirs")), Plan(rounds=3))
    assert measured.rounds == (1.0, 0.5, 2.0)
    assert measured.median == 1.0
    assert measured.quartiles == (0.75, 1.5)


def test_who_goes_first_alternates() -> None:
    calls: list[str] = []
    measure(figure(costing([1] * 4, calls, "ours"), costing([1] * 4, calls, "theirs")), Plan(rounds=3))
    ours, theirs = "ours 100", "theirs 100"
    assert calls == [ours, theirs, theirs, ours, ours, theirs, theirs, ours]


def test_a_throughput_is_better_when_we_cost_less_and_a_cost_is_the_other_way_round() -> None:
    assert ratio(Kind.THROUGHPUT, ours=1.0, theirs=2.0) == 2.0
    assert ratio(Kind.COST, ours=1.0, theirs=2.0) == 0.5


def test_a_size_has_no_peer() -> None:
    measured = measure(figure(costing([210.0, 200.0], [], "ours"), None, Kind.SIZE, most_rounds=1), Plan(rounds=5))
    assert measured.rounds == (200.0,)
    assert measured.quartiles == (200.0, 200.0)


def test_a_smoke_run_uses_the_small_counts() -> None:
    calls: list[str] = []
    measure(figure(costing([1, 1], calls, "ours"), None), Plan(rounds=1, smoke=True))
    assert calls == ["ours 7", "ours 7"]


def test_a_side_that_fails_makes_a_result_that_says_why() -> None:
    def failing(count: int) -> float:
        raise ExceptionGroup("several", [ExceptionGroup("inner", [ValueError("no such thing")])])

    measured = measure(figure(failing, None), Plan(rounds=1))
    assert measured.error == "ValueError: no such thing"
    assert measured.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("kind", "value", "verdict"),
    [
        (Kind.THROUGHPUT, 0.49, Verdict.SHORT),
        (Kind.THROUGHPUT, 0.5, Verdict.MUST),
        (Kind.THROUGHPUT, 0.8, Verdict.AIM),
    ],
)
def test_a_higher_throughput_reaches_more(kind: Kind, value: float, verdict: Verdict) -> None:
    assert Result(figure(lambda count: 1.0, None, kind), (value,)).verdict is verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.5, Verdict.SHORT), (1.4, Verdict.MUST), (1.2, Verdict.MUST), (1.1, Verdict.AIM)]
)
def test_a_lower_cost_reaches_more(value: float, verdict: Verdict) -> None:
    cost = Figure("a cost", "a peer", lambda count: 1.0, None, 1.4, 1.1, Kind.COST)
    assert Result(cost, (value,)).verdict is verdict


def test_a_figure_without_a_must_is_only_shown() -> None:
    shown = Figure("a figure", "a peer", lambda count: 1.0, None, None, None)
    assert Result(shown, (0.01,)).verdict is Verdict.SHOWN


def test_quartiles_are_inclusive() -> None:
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)
