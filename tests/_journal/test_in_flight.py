"""Many messages that are being written at one time: which have a place in a queue that is full, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventbus import Fifo, FullError, Keyed, Overflow, Policy, Priority, Retention, blocking
from tests.kit.clock import ManualClock
from tests.kit.journals import be_quiet, check, drain, writer_of


class Flight:
    """A bus that writes nothing between `hold` and `land`."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.bus = blocking.Bus(journal=path, clock=self.clock)
        self.gate = threading.Event()

    def hold(self) -> None:
        be_quiet(self.bus)
        outbox = writer_of(self.bus).outbox
        take = outbox.take

        def wait() -> Any:
            self.gate.wait(30)
            return take()

        outbox.take = wait

    def land(self) -> None:
        self.gate.set()
        self.bus.flush()
        check(self.bus)


@pytest.fixture
def flight(tmp_path: Path) -> Iterator[Flight]:
    flight = Flight(tmp_path / "shop.db")
    with flight.bus:
        yield flight
        flight.land()


def in_order(queue: Any) -> list[Any]:
    return [message.body for message in queue.peek(99)]


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()])
def test_the_newest_is_dropped_of_what_is_written_together(flight: Flight, order: Any, durable: bool) -> None:
    topic = flight.bus.topic("t")
    queue = topic.subscription("s", Policy(order, 5, Overflow.DROP_NEWEST, durable=durable))
    flight.hold()
    for n in range(20):
        topic.publish_nowait(n, key=str(n % 3))
    flight.land()
    assert sorted(in_order(queue)) == [0, 1, 2, 3, 4]
    assert queue.stats().dropped == 15


def test_the_oldest_of_the_lowest_priority_is_dropped_of_what_is_written_together(flight: Flight) -> None:
    queue = flight.bus.queue("q", Policy(Priority(), 5, Overflow.DROP_OLDEST))
    flight.hold()
    for n in range(20):
        queue.put_nowait(n, priority=9 if n < 3 else 0)
    flight.land()
    assert in_order(queue) == [0, 1, 2, 18, 19]


def test_a_transaction_that_does_not_fit_loses_its_last(flight: Flight) -> None:
    queue = flight.bus.queue("q", Policy(capacity=3, overflow=Overflow.DROP_NEWEST))
    queue.put(0)
    with flight.bus.transaction() as tx:
        for n in range(1, 4):
            tx.put(queue, n)
    assert in_order(queue) == [0, 1, 2]


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [(Overflow.DROP_NEWEST, [0, 1, 2]), (Overflow.DROP_OLDEST, [1, 2, 3]), (Overflow.WAIT, [0, 1, 2, 3])],
)
def test_what_comes_back_meanwhile_takes_the_place_of_what_is_written(
    flight: Flight, overflow: Overflow, kept: list[int]
) -> None:
    queue = flight.bus.queue("q", Policy(capacity=3, overflow=overflow))
    queue.put(0)
    delivery = queue.get()
    flight.hold()
    for n in (1, 2, 3):
        assert flight.bus._host.journaling.put(queue._alone, n, 0) is not None
    delivery.release()
    flight.land()
    assert in_order(queue) == kept


def test_a_queue_in_memory_keeps_places_for_what_is_written(flight: Flight) -> None:
    topic = flight.bus.topic("t")
    queue = topic.subscription("s", Policy(capacity=5, overflow=Overflow.FAIL, durable=False))
    flight.hold()
    queue.put_nowait("a")
    queue.put_nowait("b")
    for n in range(3):
        topic.publish_nowait(n)
    check(flight.bus)
    with pytest.raises(FullError):
        queue.put_nowait("c")
    flight.land()
    assert in_order(queue) == ["a", "b", 0, 1, 2]
    assert queue.stats().published == 5


@pytest.mark.parametrize(
    ("order", "together"),
    [
        (Fifo(), True),
        (Fifo(), False),
        (Priority(), True),
        (Priority(), False),
        (Keyed(), False),
        (Keyed(partitions=1), False),
    ],
)
def test_what_needs_no_writing_overtakes_and_a_queue_in_memory_is_in_order(
    flight: Flight, order: Any, together: bool
) -> None:
    bus = flight.bus
    written, other = bus.topic("x.written"), bus.topic("x.other", durable=False)
    queue = bus.subscription("s", "x.*", Policy(order, durable=False))
    written.publish(0, key="k")
    flight.hold()
    for n in range(1, 4):
        if together:
            assert bus._host.journaling.publish(written._state, n, 0) is not None
        else:
            written.publish_nowait(n, key="k")
    other.publish(4, key="k")
    other.publish(5, key="k")
    other.publish(6, key="l")
    flight.land()
    other.publish(7, key="k")
    assert in_order(queue) == [*range(8)]
    assert sorted(body for _, body in drain(queue)) == [*range(8)]
    check(bus)


def test_what_needs_no_writing_overtakes_in_a_batch(flight: Flight) -> None:
    bus = flight.bus
    topic = bus.topic("t")
    queue = topic.subscription("s", Policy(durable=False))
    topic.publish(0)
    queue.get().ack()
    flight.hold()
    assert bus._host.journaling.publish(topic._state, 1, 0) is not None
    queue.put_many([2, 3])
    flight.land()
    assert [delivery.body for delivery in queue.get_many(9)] == [1, 2, 3]


def test_what_was_withdrawn_from_the_end_of_a_lane_hides_nothing(flight: Flight) -> None:
    topic = flight.bus.topic("t")
    queue = topic.subscription("s", Policy(Keyed(), durable=False))
    topic.publish(0, key="k")
    flight.hold()
    topic.publish_nowait(1, key="k")
    queue.put(2, key="k")
    assert queue.cancel(queue.put(3, key="k"))
    flight.land()
    assert in_order(queue) == [0, 1, 2]


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_being_written_while_another_expires_does_so_in_its_turn(flight: Flight, durable: bool) -> None:
    topic = flight.bus.topic("t")
    queue = topic.subscription("s", Policy(ttl=10.0, durable=durable))
    topic.publish(0)
    flight.hold()
    flight.clock.advance(5)
    assert flight.bus._host.journaling.publish(topic._state, 1, 0) is not None
    flight.clock.advance(5)
    assert in_order(queue) == []
    flight.land()
    assert in_order(queue) == [1]
    flight.clock.advance(5)
    assert in_order(queue) == []
    assert queue.stats().dead == 2


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(), [0, 1, 2, 3, 4, 5]),
        (Retention(count=5), [1, 2, 3, 4, 5]),
        (Retention(count=2), [4, 5]),
        (Retention(compact=True), [2, 4, 5]),
    ],
)
def test_what_needs_no_writing_overtakes_and_a_topic_in_memory_is_in_order(
    flight: Flight, retention: Retention, kept: list[int]
) -> None:
    topic = flight.bus.topic("t", durable=False, retain=retention)
    topic.subscription("odd", where=lambda message: message.body % 2)
    topic.publish(0, key="k")
    flight.hold()
    topic.publish_nowait(1, key="k")
    topic.publish(2, key="l")
    topic.publish_nowait(3, key="k")
    topic.publish(4, key="k")
    flight.land()
    topic.publish(5)
    assert [message.body for message in topic.replay()] == kept
