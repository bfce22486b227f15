"""What comes later: all of it, none before its time, nothing that was withdrawn, never more than a slice at once."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus._core.backlog import offset_of
from eventbus._core.deadlines import SLICE
from eventbus._core.delays import Delays
from eventbus._core.engine import Doorbell
from eventbus._core.schedule import FEW, Schedule
from eventbus.message import NO_HEADERS, Record


class World:
    """The delays of one queue, and what has arrived there."""

    def __init__(self) -> None:
        self.schedule = Schedule(deque(), Doorbell())
        self.arrived: list[int] = []
        self.delays = Delays(self.schedule, self.arrive)

    def arrive(self, records: list[Record]) -> None:
        assert len(records) <= SLICE
        self.arrived += map(offset_of, records)

    def add(self, offset: int, due: float) -> None:
        self.delays.add(offset, (offset, 0.0, None, None, NO_HEADERS, 0, "q", None, None), due)

    def until(self, now: float) -> list[int]:
        """What arrives until then."""
        self.arrived.clear()
        while (alarm := self.schedule.pop(now)) is not None:
            alarm.fire(now)
        return sorted(self.arrived)


STEP = st.tuples(st.sampled_from(["add", "add", "add", "withdraw", "wait", "clear"]), st.integers(0, 9))


@given(st.lists(STEP, max_size=80))
def test_what_is_due_arrives_and_nothing_else(steps: list[tuple[str, int]]) -> None:
    world, now = World(), 0
    model: dict[int, int] = {}
    for offset, (step, number) in enumerate(steps):
        if step == "add":
            world.add(offset, now + number)
            model[offset] = now + number
        elif step == "withdraw" and model:
            withdrawn = list(model)[number % len(model)]
            del model[withdrawn]
            assert offset_of(world.delays.withdraw(withdrawn)) == withdrawn
        elif step == "clear" and not number:
            world.delays.clear()
            model.clear()
        else:
            now += number
            assert world.until(now) == sorted(offset for offset, due in model.items() if due <= now)
            model = {offset: due for offset, due in model.items() if due > now}
        assert world.delays.records.keys() == model.keys()
        assert world.schedule.expects() == bool(model)
        world.delays.check()
        world.schedule.check()


@pytest.mark.parametrize("times", [1, 3, 10_000], ids=["at one time", "at few times", "each at its own"])
def test_what_is_withdrawn_is_swept_out(times: int) -> None:
    world = World()
    for offset in range(10_000):
        world.add(offset, 1.0 + offset % times)
    for offset in range(9_990):
        world.delays.withdraw(offset)
        if not offset % 500:
            world.delays.check()
    known = len(world.delays.alone) + sum(map(len, world.delays.crowds.values()))
    assert known <= 2 * 10 + FEW
    assert len(world.delays.heap) <= known
    assert world.until(10_000) == list(range(9_990, 10_000))
    assert len(world.schedule) == 0


@pytest.mark.parametrize("times", [1, 7, 2_000])
def test_many_arrive_in_slices(times: int) -> None:
    world = World()
    for offset in range(2_000):
        world.add(offset, 1.0 + offset % times)
    alarm = world.schedule.pop(3_000)
    assert alarm is world.delays
    alarm.fire(3_000)
    assert len(world.arrived) == SLICE
    assert len(world.until(3_000)) == 2_000 - SLICE
