"""What a topic keeps of its past, against a list."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import Retention
from eventbus._core.retention import FEW, MOURNING, SLICE, Retained
from eventbus._core.schedule import NEVER, Schedule
from eventbus.message import NO_HEADERS, Key, Record


class Silence:
    def run(self) -> None:
        """Nobody has to be told that something is due."""


class World:
    """A topic's past, and a calendar that does what is due."""

    def __init__(self, retention: Retention) -> None:
        self.errands: Any = deque()
        self.calendar = Schedule(self.errands, Silence())
        self.retained = Retained(retention, self.calendar, self.errands)

    def pass_until(self, now: float) -> None:
        while (alarm := self.calendar.pop(now)) is not None:
            alarm.fire(now)
        self.errands.clear()
        self.calendar.check()

    def offsets(self) -> list[int]:
        self.retained.check()
        return [record[0] or 0 for record in self.retained.store]


def record(offset: int, time: float = 0.0, key: Key = None, body: Any = "body") -> Record:
    return (offset, time, body, key, NO_HEADERS, 0, "t", None, None)


@attrs.frozen
class Step:
    """A message, some time after the one before."""

    gap: int
    wait: int
    key: Key
    body: Any


STEPS = st.lists(
    st.builds(
        Step,
        gap=st.integers(1, 3),
        wait=st.sampled_from([0, 1, 2, 7, int(MOURNING) // 2]),
        key=st.sampled_from([None, "a", "b", b"b", "c"]),
        body=st.sampled_from(["body", "body", None]),
    ),
    max_size=40,
)
RETENTIONS = st.builds(
    Retention,
    count=st.none() | st.integers(1, 8),
    age=st.sampled_from([None, 1, 5, 30, MOURNING * 2]),
    compact=st.booleans(),
)


def kept_of(retention: Retention, sent: list[Record], now: float) -> list[Record]:
    """The plainest model: look at all that was ever sent, step by step."""
    kept: list[Record] = []
    for record in sent:
        key = record[3].encode() if isinstance(record[3], str) else record[3]
        kept = leave(retention, kept, record[1])
        if retention.compact and key is not None:
            kept = [r for r in kept if (r[3].encode() if isinstance(r[3], str) else r[3]) != key]
        kept.append(record)
        if retention.count is not None:
            kept = kept[-retention.count :]
    return leave(retention, kept, now)


def leave(retention: Retention, kept: list[Record], now: float) -> list[Record]:
    young = [r for r in kept if retention.age is None or r[1] + retention.age > now]
    if not retention.compact:
        return young
    return [r for r in young if r[2] is not None or r[3] is None or r[1] + MOURNING > now]


@given(retention=RETENTIONS, steps=STEPS, limit=st.integers(1, 9))
def test_it_keeps_what_the_model_keeps(retention: Retention, steps: list[Step], limit: int) -> None:
    world, sent, offset, now = World(retention), [], 0, 1000.0
    assert (world.retained.last_offset(), world.retained.lost_through, len(world.retained)) == (0, 0, 0)
    before: list[Record] = []
    for step in steps:
        offset += step.gap
        now += step.wait
        world.pass_until(now)
        sent.append(record(offset, now, step.key, step.body))
        gone = world.retained.keep(sent[-1])
        kept = kept_of(retention, sent, now)
        offsets = [r[0] for r in kept]
        assert world.offsets() == offsets
        young = [r for r in before if leave(retention, [r], now)]
        assert sorted(r[0] or 0 for r in gone) == [r[0] for r in [*young, sent[-1]] if r not in kept]
        assert world.retained.last_offset() == (offsets[-1] if offsets else 0)
        for after in range(offset + 1):
            page = [r for r in kept if (r[0] or 0) > after][:limit]
            assert world.retained.page(after, limit) == page
        for time in {r[1] + d for r in sent for d in (0, 0.5)}:
            assert world.retained.first_since(time) == next((r[0] for r in kept if r[1] >= time), None)
        before = kept
    world.pass_until(now + 3 * MOURNING)
    assert world.offsets() == [r[0] for r in kept_of(retention, sent, now + 3 * MOURNING)]


def test_it_knows_what_it_lost_from_the_front() -> None:
    world = World(Retention(count=2, age=10))
    for offset in (3, 5, 9):
        world.retained.keep(record(offset, float(offset)))
    assert (world.offsets(), world.retained.lost_through) == ([5, 9], 3)
    world.pass_until(15.0)
    assert (world.offsets(), world.retained.lost_through) == ([9], 5)
    world.pass_until(19.0)
    assert (world.offsets(), world.retained.lost_through, world.retained.last_offset()) == ([], 9, 0)


def test_what_is_older_goes_first_even_if_its_clock_was_ahead() -> None:
    world = World(Retention(age=10))
    world.retained.keep(record(1, 5.0))
    world.retained.keep(record(2, 0.0))
    world.pass_until(14.0)
    assert world.offsets() == [1, 2], "a topic forgets from the front"
    world.pass_until(15.0)
    assert world.offsets() == []


def test_one_that_changes_all_the_time_keeps_no_memory() -> None:
    world = World(Retention(compact=True))
    world.retained.keep(record(1, key="still"))
    for offset in range(2, 5000):
        world.retained.keep(record(offset, key="busy", body=None if offset % 2 else "body"))
    assert world.offsets() == [1, 4999]
    table = world.retained.table
    assert table is not None
    assert len(table.records) == len(table.latest) == 2
    assert len(table.tombstones) <= FEW + 1


def test_many_go_in_slices() -> None:
    world = World(Retention(age=1))
    for offset in range(1, 2 * SLICE + 10):
        world.retained.keep(record(offset))
    alarm = world.calendar.pop(1.0)
    assert alarm is world.retained
    alarm.fire(1.0)
    assert len(world.offsets()) == SLICE + 9
    world.pass_until(1.0)
    assert world.offsets() == []
    assert world.retained.due == NEVER


@pytest.mark.parametrize("retention", [Retention(), Retention(count=3), Retention(compact=True)])
def test_without_an_age_nobody_looks_at_the_time(retention: Retention) -> None:
    world = World(retention)
    for offset in range(1, 9):
        world.retained.keep(record(offset, key="k"))
    assert len(world.calendar) == 0
