"""A line against the plainest model: lists, sorted again at every question."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventbus import Bus
from eventbus._core.consumer import Holder
from eventbus._core.waiting import Line, Waiter


class Task(Waiter):
    """A waiter that counts its wakes."""

    def __init__(self, name: int, priority: int = 0) -> None:
        super().__init__("home")
        self.name = name
        self.wakes = 0
        self.begin(name, holder(priority) if priority else None)

    def run(self) -> None:
        self.wakes += 1


def holder(priority: int) -> Holder:
    state: Any = Bus().queue("q")._state
    return Holder(state, Line(), priority=priority)


def wake(errands: Any) -> list[Task]:
    woken = []
    while errands:
        errand = errands.popleft()
        errand.run()
        woken.append(errand)
    return woken


class LineAgainstLists(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.errands: Any = deque()
        self.arrived: list[Task] = []
        self.parked: list[Task] = []
        self.woken: list[Task] = []
        self.tasks = 0

    def in_order(self) -> list[Task]:
        return sorted(self.parked, key=lambda task: (-task.priority, self.arrived.index(task)))

    @rule(priority=st.sampled_from([0, 0, 0, 1, -1, 7]))
    def arrive(self, priority: int) -> None:
        self.tasks += 1
        task = Task(self.tasks, priority)
        assert task not in self.line
        self.line.park(task)
        self.arrived.append(task)
        self.parked.append(task)

    @precondition(lambda self: self.woken or self.parked)
    @rule(data=st.data())
    def park_again(self, data: st.DataObject) -> None:
        """Who was woken for nothing keeps its place."""
        task = data.draw(st.sampled_from([*self.woken, *self.parked]))
        self.line.park(task)
        if task in self.woken:
            self.woken.remove(task)
            self.parked.append(task)

    @precondition(lambda self: self.woken or self.parked)
    @rule(data=st.data(), again=st.booleans())
    def leave(self, data: st.DataObject, again: bool) -> None:
        task = data.draw(st.sampled_from([*self.woken, *self.parked]))
        self.line.leave(task)
        if again:
            self.line.leave(task)
        (self.woken if task in self.woken else self.parked).remove(task)
        assert task not in self.line

    @precondition(lambda self: self.woken or self.parked)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from([*self.woken, *self.parked]))
        self.line.claim(task)
        if task in self.parked:
            self.parked.remove(task)
            self.woken.append(task)

    @rule(available=st.integers(-1, 5))
    def rouse(self, available: int) -> None:
        self.line.rouse(available, self.errands)
        self.roused(self.in_order()[: max(0, available - len(self.woken))])
        self.line.check(available, "line")

    @precondition(lambda self: self.parked)
    @rule()
    def rouse_first(self) -> None:
        self.line.rouse_first(self.errands)
        self.roused(self.in_order()[:1])

    @precondition(lambda self: self.woken or self.parked)
    @rule(data=st.data())
    def rouse_one(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from([*self.woken, *self.parked]))
        self.line.rouse_one(task, self.errands)
        self.roused([task] if task in self.parked else [])

    @rule()
    def rouse_all(self) -> None:
        self.line.rouse_all(self.errands)
        self.roused(self.in_order())

    def roused(self, expected: list[Task]) -> None:
        assert wake(self.errands) == expected
        for task in expected:
            self.parked.remove(task)
            self.woken.append(task)

    @rule(priority=st.integers(-2, 8))
    def ahead(self, priority: int) -> None:
        """A newcomer finds before it whoever has its priority or a higher one, asleep or woken."""
        assert self.line.ahead(priority) == sum(t.priority >= priority for t in (*self.parked, *self.woken))

    @invariant()
    def is_the_lists(self) -> None:
        assert list(self.line.parked) == self.in_order()
        assert set(self.line.woken) == set(self.woken)
        assert len(self.line) == len(self.parked) + len(self.woken)
        assert all(task in self.line for task in (*self.parked, *self.woken))


TestLine = LineAgainstLists.TestCase


class RoomAgainstLists(RuleBasedStateMachine):
    """Those who wait for room: each needs so much of it, and nobody is served before who came first."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.errands: Any = deque()
        self.needs: dict[Task, int] = {}
        self.woken: set[Task] = set()

    @rule(need=st.integers(1, 4), claim=st.booleans())
    def arrive(self, need: int, claim: bool) -> None:
        task = Task(len(self.needs))
        if claim:
            self.line.park(task, need)
            self.line.claim(task, need)
            self.woken.add(task)
        else:
            self.line.park(task, need)
        self.needs[task] = need

    @precondition(lambda self: self.needs)
    @rule(data=st.data(), need=st.integers(1, 4))
    def need_another_amount(self, data: st.DataObject, need: int) -> None:
        task = data.draw(st.sampled_from(list(self.needs)))
        self.line.park(task, need)
        self.needs[task] = need
        self.woken.discard(task)

    @precondition(lambda self: self.needs)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(list(self.needs)))
        self.line.leave(task)
        del self.needs[task]
        self.woken.discard(task)

    @rule(available=st.integers(-1, 9))
    def rouse(self, available: int) -> None:
        expected = []
        for task in sorted(self.needs.keys() - self.woken, key=lambda task: task.ticket):
            before = sum(self.needs[other] for other in self.woken if other.ticket < task.ticket)
            if before + self.needs[task] > available:
                break
            expected.append(task)
            self.woken.add(task)
        self.line.rouse_in_order(available, self.errands)
        assert wake(self.errands) == expected
        self.line.check(available, "line", in_order=True)

    @precondition(lambda self: self.needs)
    @rule(data=st.data())
    def before(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(list(self.needs)))
        earlier = {other for other in self.needs if other.ticket < task.ticket}
        before = earlier - self.woken if task in self.woken else earlier
        assert self.line.before(task) == sum(self.needs[other] for other in before)

    @invariant()
    def is_the_lists(self) -> None:
        assert self.line.before(None) == self.line.before(Task(0)) == self.line.needed() == sum(self.needs.values())
        assert len(self.line) == len(self.needs)


TestRoom = RoomAgainstLists.TestCase


def test_one_ticket_counts_in_every_line() -> None:
    """Who waits in several lines has the same place in each, whichever it joined first."""
    one, other = Line(), Line()
    first, second = Task(1), Task(2)
    one.park(first)
    one.park(second)
    other.park(second)
    other.park(first)
    assert list(one.parked) == list(other.parked) == [first, second]


def test_a_waiter_that_begins_anew_is_a_newcomer() -> None:
    line = Line()
    first, second = Task(1), Task(2)
    line.park(first)
    line.park(second)
    line.leave(first)
    first.begin(1, None)
    line.park(first)
    assert list(line.parked) == [second, first]


def test_a_waiter_must_say_how_it_is_woken() -> None:
    with pytest.raises(NotImplementedError):
        Waiter("home").run()
