"""A message that repeats an id within the window enters once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from eventbus import DeclarationError, Policy, blocking
from tests.kit import ManualClock
from tests.scenarios.conservation import intact


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bus(clock: ManualClock) -> Any:
    return blocking.Bus(clock=clock)


def bodies(queue: Any) -> list[Any]:
    return [message.body for message in queue.peek(1000)]


def test_a_queue_knows_an_id_again_until_its_window_is_over(bus: Any, clock: ManualClock) -> None:
    queue = bus.queue("q", Policy(dedup=10))
    first = queue.put(1, id="a")
    assert queue.put(2, id="a") == first
    assert queue.put_nowait(3, id="a") == first
    clock.advance(5)
    other = queue.put(4, id="b")
    queue.get().ack()  # and when it is settled
    assert queue.put_many([5, 6], id="b") == [other, other]
    assert queue.put(7, id="a") == first
    clock.advance(5)
    assert queue.put(8, id="a") > other
    assert bodies(queue) == [4, 8]
    clock.advance(20)
    assert (len(queue._state.seen.offsets), len(bus._engine.schedule)) == (0, 0)
    intact(bus)


def test_ids_that_nobody_gave_are_not_compared(bus: Any) -> None:
    queue = bus.queue("q", Policy(dedup=10))
    queue.put_many([1, 2])
    bus.queue("plain").put(1, id="a")
    bus.queue("plain").put(1, id="a")
    assert bodies(queue) == [1, 2]
    assert bus.queue("plain").stats().ready == 2


def test_a_topic_knows_an_id_again_for_all_its_queues(bus: Any, clock: ManualClock) -> None:
    topic = bus.topic("t", dedup=10)
    queues = [topic.subscription("a"), topic.subscription("b")]
    first = topic.publish(1, id="x")
    assert topic.publish(2, id="x") == first
    assert topic.publish_many([3, 4], id="x") == [first, first]
    assert [bodies(queue) for queue in queues] == [[1], [1]]
    clock.advance(10)
    assert topic.publish(5, id="x") != first
    bus.close()
    assert len(bus._engine.schedule) == 0


def test_a_queue_of_a_topic_may_know_it_alone(bus: Any) -> None:
    topic = bus.topic("t")
    knows, takes = topic.subscription("a", Policy(dedup=10)), topic.subscription("b")
    assert topic.publish(1, id="x") != topic.publish(2, id="x")
    assert (bodies(knows), bodies(takes)) == ([1], [1, 2])
    intact(bus)


def test_a_duplicate_does_not_wait_for_room(bus: Any) -> None:
    queue = bus.queue("q", Policy(capacity=1, dedup=10))
    first = queue.put(1, id="a")
    assert queue.put(1, id="a", timeout=0) == first


def test_two_that_wait_for_room_with_one_id_enter_once(bus: Any) -> None:
    queue = bus.queue("q", Policy(capacity=1, dedup=10))
    topic = bus.topic("t")
    queue.bind("t")
    other = topic.subscription("other")
    queue.put(0)
    offsets: list[int] = []
    threads = [
        threading.Thread(target=lambda put=put: offsets.append(put("x", id="a")))
        for put in (queue.put, queue.put, topic.publish)
    ]
    for count, thread in enumerate(threads, 1):
        thread.start()
        while queue.stats().waiting_putters < count:
            pass
    queue.get().ack()
    for thread in threads:
        thread.join(10)
    assert len(set(offsets)) == 2
    assert (bodies(queue), bodies(other)) == (["x"], ["x"])
    intact(bus)


def test_the_end_forgets(bus: Any) -> None:
    queue = bus.queue("q", Policy(dedup=10))
    queue.put(1, id="a")
    bus.close()
    assert len(bus._engine.schedule) == 0


def test_a_window_is_declared_once(bus: Any) -> None:
    bus.topic("t", dedup=10)
    bus.topic("t", dedup=10)
    with pytest.raises(DeclarationError, match="dedup=10"):
        bus.topic("t", dedup=11)
    with pytest.raises(ValueError, match="dedup takes seconds"):
        bus.topic("u", dedup=0)
