"""The one path by which a message enters: all or nothing, and never by routes that are no longer true."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus import ClosedError, Delivery, FullError, Overflow, Policy
from eventbus._core.consumer import Holder
from eventbus._core.engine import Engine
from eventbus._core.entry import STALE
from eventbus._core.parcels import Batch, Parcel, Target
from eventbus._core.waiting import Waiter
from eventbus.filters import as_predicate
from eventbus.message import NO_HEADERS


class World:
    """A topic with two queues, and parcels for it."""

    def __init__(self, *policies: Policy) -> None:
        self.engine = Engine(Delivery, lambda text, error: None)
        self.topic = self.engine.wiring.declare("t", None)
        self.queues = [self.engine.declare_queue(f"q{index}", policy) for index, policy in enumerate(policies)]
        for queue in self.queues:
            self.engine.wiring.bind(queue, ["t"], as_predicate(None))

    def parcel(self, body: Any = "b") -> Parcel:
        routes = self.engine.wiring.routes(self.topic)
        targets = [Target(route.queue, None, body) for route in routes]
        return Parcel("t", body, None, NO_HEADERS, 0, 0.0, None, targets, self.topic, routes)

    def batch(self, count: int, keys: Any = None) -> Batch:
        routes = self.engine.wiring.routes(self.topic)
        batch = Batch("t", self.queues, list(range(count)), keys, NO_HEADERS, 0, 0.0, None, self.topic)
        batch.routes = routes
        return batch

    def levels(self) -> list[int]:
        self.engine.check()
        return [queue.ready() for queue in self.queues]


def test_a_parcel_reaches_every_target_or_none() -> None:
    world = World(Policy(capacity=1), Policy())
    assert world.engine.entry.send(world.parcel()) == 1
    assert world.engine.entry.send(world.parcel()) == 0, "the first is full"
    assert world.levels() == [1, 1]


def test_a_parcel_whose_routes_changed_is_refused() -> None:
    world = World(Policy())
    old, batch = world.parcel(), world.batch(3)
    late = world.engine.declare_queue("late", None)
    world.engine.wiring.bind(late, ["t"], as_predicate(None))
    assert world.engine.entry.send(old) == STALE
    assert world.engine.entry.send_slice(batch, 0, 3) is None
    assert world.levels() == [0]
    assert world.engine.entry.send(world.parcel()) == 1
    assert late.ready() == 1


def test_a_slice_enters_as_far_as_every_queue_has_room() -> None:
    world = World(Policy(capacity=5), Policy(capacity=3))
    batch = world.batch(9, keys=[str(number) for number in range(9)])
    assert world.engine.entry.send_slice(batch, 0, 9) == range(1, 4)
    assert world.engine.entry.send_slice(batch, 3, 9) == range(0)
    assert world.levels() == [3, 3]
    assert [record[3] for record in world.queues[0].peek(9)] == ["0", "1", "2"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_room_that_is_made_while_a_publisher_parks_is_seen(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """A handout from a buffer takes no lock: it may come between the look at the room and the place in line.

    If it does before `_park` looks, the publisher counts as woken, and nobody would wake it any more.
    """
    world = World(Policy(capacity=2))
    queue = world.queues[0]
    holder = Holder(queue, queue.getters, prefetch=8)
    queue.attach(holder)
    world.engine.entry.send(world.parcel())
    world.engine.entry.send(world.parcel())
    assert queue.reserve_in_turn(holder, waiter()) is not None, "one is out and one reserved"
    world.engine.entry.send(world.parcel())
    park = world.engine.entry._park

    def late(*args: Any) -> None:
        if moment == "before":
            holder.buffer.popleft()
        park(*args)
        if moment == "after":
            holder.buffer.popleft()

    monkeypatch.setattr(world.engine.entry, "_park", late)
    assert world.engine.entry.send(world.parcel(), waiter()) == 4
    assert len(queue.putters) == 0
    assert queue.room() == 0


def waiter() -> Waiter:
    """Somebody who can wait."""
    waiter = Waiter(None)
    waiter.begin(object(), None)
    return waiter


def test_a_broadcast_goes_the_long_way_when_it_takes_more_than_pushes() -> None:
    world = World(Policy(capacity=1), Policy())
    broadcast = world.engine.entry.broadcast
    assert broadcast(world.topic, "b", NO_HEADERS, 0, 0.0) == 1, "it finds the routes"
    assert broadcast(world.topic, "b", NO_HEADERS, 0, 0.0) == 0, "full"
    assert world.levels() == [1, 1]


def test_a_whole_enters_or_nothing_does() -> None:
    engine = Engine(Delivery, lambda text, error: None)
    queue = engine.declare_queue("q", Policy(capacity=2, overflow=Overflow.FAIL))
    parcels = [Parcel("q", n, None, NO_HEADERS, 0, 0.0, None, [Target(queue, None, n)]) for n in range(3)]
    with pytest.raises(FullError):
        engine.entry.commit(parcels)
    assert queue.ready() == 0
    assert engine.entry.commit(parcels[:2])
    assert [parcel.offset for parcel in parcels[:2]] == [1, 2]
    assert engine.entry.commit([])


def test_nothing_enters_after_the_end() -> None:
    world = World(Policy())
    parcel, batch = world.parcel(), world.batch(2)
    world.engine.close()
    for call in (
        lambda: world.engine.entry.send(parcel),
        lambda: world.engine.entry.send_slice(batch, 0, 2),
        lambda: world.engine.entry.commit([parcel]),
    ):
        with pytest.raises(ClosedError):
            call()
    assert world.engine.entry.broadcast(world.topic, "b", NO_HEADERS, 0, 0.0) == 0
