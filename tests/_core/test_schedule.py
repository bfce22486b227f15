"""One heap for what is due: in order, once, and not when it was cancelled."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus._core.deadlines import FEW, Deadlines
from eventbus._core.engine import Doorbell
from eventbus._core.errands import Errand
from eventbus._core.schedule import NEVER, Alarm, Schedule


class Noted(Alarm):
    """An alarm that notes when it fired."""

    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self.log = log

    def fire(self, now: float) -> None:
        self.log.append((now, self))


def schedule() -> Schedule:
    errands: deque[Errand] = deque()
    return Schedule(errands, Doorbell())


def fired(schedule: Schedule, now: float) -> list[Alarm]:
    alarms = []
    while (alarm := schedule.pop(now)) is not None:
        alarms.append(alarm)
    schedule.check()
    return alarms


STEP = st.tuples(st.integers(0, 9), st.sampled_from(["set", "cancel", "wait"]), st.integers(0, 20))


@given(st.lists(STEP, max_size=60))
def test_it_fires_what_is_set_in_order_and_nothing_else(steps: list[tuple[int, str, int]]) -> None:
    row = schedule()
    alarms = [Alarm() for _ in range(10)]
    model: dict[Alarm, tuple[int, int]] = {}
    now = 0
    for turn, (index, step, number) in enumerate(steps):
        alarm = alarms[index]
        if step == "set":
            row.set(alarm, now + number)
            model[alarm] = (now + number, turn)
        elif step == "cancel":
            row.cancel(alarm)
            model.pop(alarm, None)
        else:
            now += number
            due = sorted((when, alarms.index(alarm)) for alarm, when in model.items() if when[0] <= now)
            assert fired(row, now) == [alarms[position] for _, position in due]
            for _, position in due:
                del model[alarms[position]]
        assert len(row) == len(model)
        row.check()


def test_what_was_cancelled_is_swept_out() -> None:
    row = schedule()
    alarms = [Alarm() for _ in range(10_000)]
    for alarm in alarms:
        row.set(alarm, 5)
    for alarm in alarms[1:]:
        row.cancel(alarm)
    assert len(row) == 1
    assert len(row.heap) < 200
    row.cancel(alarms[1])
    assert fired(row, 5) == [alarms[0]]
    assert row.first == NEVER


def test_only_what_is_due_sooner_than_all_before_rings() -> None:
    row = schedule()
    for due in (9, 10, 8, 8, 20):
        row.set(Alarm(), due)
    assert len(row.errands) == 2
    row.ring.run()  # nobody answers


@pytest.mark.parametrize("things", [range(FEW + 1), range(FEW + 1, -1, -1)], ids=["in order", "in reverse"])
def test_deadlines_that_are_void_are_swept_out(things: range) -> None:
    row = schedule()
    alive = {3}
    met: list[Any] = []

    def meet(due: list[int], now: float) -> None:
        met.extend(due)

    deadlines: Deadlines[int] = Deadlines(row, lambda: alive.__contains__, meet)
    for thing in things:
        deadlines.add(10.0 + thing, thing)
    assert len(deadlines) == 1
    assert row.pop(9) is None
    alarm = row.pop(13)
    assert alarm is deadlines
    alarm.fire(13)
    assert met == [3]
    assert len(row) == 0


def test_many_deadlines_are_met_in_slices() -> None:
    row = schedule()
    met: list[int] = []
    deadlines: Deadlines[int] = Deadlines(row, lambda: lambda thing: True, lambda due, now: met.append(len(due)))
    for thing in range(600):
        deadlines.add(1.0, thing)
    while (alarm := row.pop(2)) is not None:
        alarm.fire(2)
    assert met == [256, 256, 88]
    deadlines.add(5.0, 1)
    deadlines.clear()
    assert row.pop(9) is None


def test_a_deadline_added_while_others_are_met_holds_up_none_that_is_sooner() -> None:
    row = schedule()
    met: list[int] = []

    def meet(due: list[int], now: float) -> None:
        met.extend(due)
        if met == [1]:
            deadlines.add(30.0, 3)

    deadlines: Deadlines[int] = Deadlines(row, lambda: lambda thing: True, meet)
    deadlines.add(10.0, 1)
    deadlines.add(20.0, 2)
    for now in (10.0, 20.0):
        while (alarm := row.pop(now)) is not None:
            alarm.fire(now)
    assert met == [1, 2]


def test_deadlines_are_met_in_the_order_of_time_in_whatever_order_they_came() -> None:
    row = schedule()
    met: list[int] = []
    deadlines: Deadlines[int] = Deadlines(row, lambda: lambda thing: True, lambda due, now: met.extend(due))
    for due in (5, 9, 7, 3, 8, 4):
        deadlines.add(due, due)
    for now in range(10):
        while (alarm := row.pop(now)) is not None:
            alarm.fire(now)
        assert met == [due for due in (3, 4, 5, 7, 8, 9) if due <= now]


@given(st.lists(st.tuples(st.sampled_from(["note", "expect", "settle", "wait"]), st.integers(1, 9)), max_size=60))
def test_deadlines_that_can_be_told_need_not_be_noted(steps: list[tuple[str, int]]) -> None:
    row, now = schedule(), 0
    left: dict[int, int] = {}
    untold: dict[int, int] = {}
    met: list[int] = []

    def unnoted() -> list[tuple[float, int]]:
        found = [(float(due), thing) for thing, due in untold.items() if thing in left]
        untold.clear()
        return found

    def meet(things: list[int], now: float) -> None:
        met.extend(thing for thing in things if thing in left)

    deadlines: Deadlines[int] = Deadlines(row, lambda: lambda thing: thing in left, meet, unnoted)
    for thing, (step, number) in enumerate(steps):
        if step == "note":
            left[thing] = now + number
            deadlines.add(now + number, thing)
        elif step == "expect":
            left[thing] = untold[thing] = now + number
            if now + number < deadlines.unseen:
                deadlines.expect(now + number)
        elif step == "settle":
            left.pop(thing - number, None)
        else:
            now += number
            for alarm in iter(partial(row.pop, now), None):
                alarm.fire(now)
            assert [left[thing] for thing in met] == sorted(due for due in left.values() if due <= now)
            left = {thing: due for thing, due in left.items() if thing not in met}
            met.clear()
        assert deadlines.due <= min(left.values(), default=NEVER)
        row.check()
    deadlines.clear()
    assert (deadlines.first(), len(row)) == (NEVER, 0)


class Weighed(float):
    """A due time that counts how often one is compared with another."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        Weighed.comparisons += 1
        return float.__lt__(self, other)


def weigh(operation: Callable[[], object]) -> int:
    """How many comparisons an operation took."""
    before = Weighed.comparisons
    operation()
    return Weighed.comparisons - before


def test_of_a_million_alarms_each_is_set_cancelled_and_fired_in_logarithmic_time(thorough: bool) -> None:
    count = 1_000_000 if thorough else 10_000
    level = math.log2(count)
    dice = random.Random(1)
    row, alarms = schedule(), [Alarm() for _ in range(count)]
    dues = [Weighed(dice.random()) for _ in range(count)]

    assert max(weigh(partial(row.set, *pair)) for pair in zip(alarms, dues, strict=True)) <= level + 3

    cancelled = sum(weigh(partial(row.cancel, alarm)) for alarm in alarms[::2])  # sweeps now and then: see the sum
    assert cancelled <= 4 * count
    assert len(row.heap) <= 2 * len(row) + FEW

    times = sorted(dues[1::2])
    popped = sum(weigh(partial(row.pop, time)) for time in times)
    assert popped <= count * (level + 3)
    assert row.pop(NEVER) is None
    assert len(row) == 0
    row.check()
