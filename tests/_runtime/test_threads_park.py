"""Threads that wait: timeouts, wakes, places in line, and the end of a thread."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eventbus import Policy
from eventbus._runtime import threads as parking
from eventbus.blocking import Bus, Queue
from tests.scenarios.conservation import intact


@pytest.fixture
def bus() -> Iterator[Bus]:
    bus = Bus()
    yield bus
    bus._engine.check()
    bus.close()


def started(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ended(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread hangs"


def until(condition: Callable[[], object]) -> None:
    for _ in range(3_000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to be")


def waiting(queue: Queue[Any], count: int = 1) -> None:
    until(lambda: len(queue._state.getters.parked) == count)


WAITS: dict[str, Callable[[Bus, Queue[Any], float], Any]] = {
    "get": lambda bus, queue, timeout: bus.queue("empty").get(timeout),
    "get_many": lambda bus, queue, timeout: bus.queue("empty").get_many(3, timeout=timeout),
    "put": lambda bus, queue, timeout: queue.put(2, timeout=timeout),
    "put with headers": lambda bus, queue, timeout: queue.put(2, headers={"a": 1}, timeout=timeout),
    "put_many": lambda bus, queue, timeout: queue.put_many([2, 3], timeout=timeout),
    "publish": lambda bus, queue, timeout: bus.topic("t").publish(2, timeout=timeout),
    "publish_many": lambda bus, queue, timeout: bus.topic("t").publish_many([2, 3], timeout=timeout),
    "join": lambda bus, queue, timeout: queue.join(timeout),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("timeout", [0, 0.001])
def test_a_timeout_raises_and_changes_nothing(bus: Bus, wait: Any, timeout: float) -> None:
    queue = bus.queue("full", Policy(capacity=1))
    queue.bind("t")
    queue.put(1)
    before = queue.stats()
    with pytest.raises(TimeoutError, match=r"waited .* s for .*, and it did not come"):
        wait(bus, queue, timeout)
    after = queue.stats()
    assert (after.published, after.ready, after.waiting_putters) == (before.published, 1, 0)
    intact(bus)  # type: ignore[arg-type]


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_timeout_is_seconds_or_none(bus: Bus, wait: Any) -> None:
    queue = bus.queue("full", Policy(capacity=1))
    queue.bind("t")
    queue.put(1)
    for wrong, kind in (
        (-1, ValueError),
        (float("nan"), ValueError),
        ("1", TypeError),
        (True, TypeError),
        (10**400, ValueError),
    ):
        with pytest.raises(kind, match="timeout takes seconds of at least 0, or None"):
            wait(bus, queue, wrong)


def test_joining_a_bus_and_iterating_time_out_too(bus: Bus) -> None:
    queue = bus.queue("q")
    with queue.consume(timeout=0.01) as consumer:
        with pytest.raises(TimeoutError):
            next(consumer)
        queue.put(1)
        delivery = next(consumer)
        with pytest.raises(TimeoutError):
            bus.join(timeout=0.01)
        delivery.ack()
        bus.join(timeout=0.01)


def test_put_many_says_how_many_entered_in_time(bus: Bus) -> None:
    queue = bus.queue("q", Policy(capacity=3))
    with pytest.raises(TimeoutError, match="3 of 5 messages entered, put the others again"):
        queue.put_many([1, 2, 3, 4, 5], timeout=0.01)
    assert queue.stats().ready == 3


def test_following_times_out_and_an_ended_bus_ends_it(bus: Bus) -> None:
    from eventbus import Retention

    topic = bus.topic("t", retain=Retention(count=3))
    topic.publish(1)
    reading = topic.replay(follow=True, timeout=0.01)
    assert next(reading).body == 1
    with pytest.raises(TimeoutError, match="something new in t"):
        next(reading)
    again = topic.replay(follow=True)
    assert next(again).body == 1
    thread = started(lambda: list(again))
    until(lambda: len(bus._engine.archive.followers))
    bus.close()
    ended(thread)


def test_threads_are_served_in_the_order_of_arrival(bus: Bus) -> None:
    queue = bus.queue("q")
    got: dict[int, int] = {}
    threads = []
    for number in range(5):
        threads.append(started(lambda number=number: got.setdefault(number, queue.get().body)))
        waiting(queue, number + 1)
    for number, thread in enumerate(threads):
        queue.put(number)
        ended(thread)
    assert got == {number: number for number in range(5)}


def test_a_wake_that_comes_as_the_time_runs_out_goes_to_the_next(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sleeper is woken, but finds its message gone and its time over: the second must not sleep on."""
    queue = bus.queue("q")
    sleep = parking.ThreadSleeper.sleep

    def late(self: Any, seconds: float) -> None:
        sleep(self, seconds)
        if seconds > 0:
            raise TimeoutError("over in this moment")

    monkeypatch.setattr(parking.ThreadSleeper, "sleep", late)
    outcome: list[Any] = []

    def first() -> None:
        with pytest.raises(TimeoutError):
            queue.get(timeout=30)

    one = started(first)
    waiting(queue)
    two = started(lambda: outcome.append(queue.get().body))
    waiting(queue, 2)
    queue.put("for the second")
    ended(one, two)
    assert outcome == ["for the second"]


def test_a_thread_that_ends_gives_back_what_its_consumer_held(bus: Bus) -> None:
    queue = bus.queue("q")
    queue.put_many([1, 2, 3])

    def careless() -> None:
        consumer = queue.consume(prefetch=2)
        consumer.__enter__()
        assert next(consumer).body == 1

    ended(started(careless))
    gc.collect()
    until(lambda: not queue.stats().consumers)
    assert [message.body for message in queue.peek(9)] == [1, 2, 3]
    assert queue.get(timeout=5).attempt == 2
    intact(bus)  # type: ignore[arg-type]


def test_the_end_of_a_thread_wakes_who_waits_for_what_it_held(bus: Bus) -> None:
    queue = bus.queue("q")
    queue.put(1)
    taken, go = threading.Event(), threading.Event()

    def careless() -> None:
        next(queue.consume().__enter__())
        taken.set()
        go.wait(30)

    holder = started(careless)
    assert taken.wait(30)
    got: list[int] = []
    other = started(lambda: got.append(queue.get().attempt))
    waiting(queue)
    go.set()
    ended(holder, other)
    assert got == [2]


def test_a_long_wait_for_room_is_reported(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parking, "PATIENCE", 0.01)
    queue = bus.queue("q", Policy(capacity=1))
    queue.put(1)
    thread = started(lambda: queue.put(2))
    until(lambda: "no consumer is attached" in caplog.text)
    queue.get().ack()
    ended(thread)
    with pytest.raises(TimeoutError):
        bus.queue("q").put(3, timeout=0.005)


def test_closing_wakes_every_thread(bus: Bus) -> None:
    from eventbus import ClosedError

    queue = bus.queue("q")
    ends: list[str] = []

    def get() -> None:
        with pytest.raises(ClosedError):
            queue.get()
        ends.append("get")

    def consume() -> None:
        with queue.consume() as consumer:
            assert list(consumer) == []
        ends.append("consume")

    threads = [started(get), started(consume)]
    waiting(queue, 2)
    bus.close()
    ended(*threads)
    assert sorted(ends) == ["consume", "get"]


def test_many_threads_lose_and_double_nothing(bus: Bus, thorough: bool) -> None:
    queue = bus.queue("q", Policy(capacity=7))
    count = 5_000 if thorough else 300
    crew = 6
    seen: list[list[Any]] = [[] for _ in range(crew)]

    def produce(number: int) -> None:
        for serial in range(count):
            queue.put((number, serial))

    def consume(number: int) -> None:
        with queue.consume(prefetch=1 + number % 3) as consumer:
            for delivery in consumer:
                if (delivery.attempt + delivery.offset) % 7 == 0:
                    delivery.release()
                else:
                    seen[number].append(delivery.body)
                    delivery.ack()

    was = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        producers = [started(lambda n=n: produce(n)) for n in range(crew)]
        consumers = [started(lambda n=n: consume(n)) for n in range(crew)]
        ended(*producers)
        queue.join(timeout=60)
        intact(bus)  # type: ignore[arg-type]
        bus.close()
        ended(*consumers)
    finally:
        sys.setswitchinterval(was)
    everything = [body for share in seen for body in share]
    assert sorted(everything) == [(number, serial) for number in range(crew) for serial in range(count)]


def test_stats_may_be_asked_for_while_another_thread_takes_what_it_has_reserved(bus: Bus, thorough: bool) -> None:
    queue = bus.queue("q")
    queue.put_many(range(50_000 if thorough else 5_000))

    def consume() -> None:
        with queue.consume(prefetch=3, until_empty=True) as consumer:
            for delivery in consumer:
                delivery.ack()

    was = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = started(consume)
        while thread.is_alive():
            stats = queue.stats()
            assert stats.published == stats.acked + stats.ready + stats.out
        ended(thread)
    finally:
        sys.setswitchinterval(was)
