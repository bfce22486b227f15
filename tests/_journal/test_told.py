"""Who is told in the journal's own thread of what was written can send, and can't wait."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from eventbus import Bus, JournalError, Observer, Overflow, Policy, blocking
from tests.kit.journals import check


class Audit(Observer):
    """Does something when it is told, in the journal's own thread, that a message of the topic was published."""

    def __init__(self, act: Any) -> None:
        self.act = act
        self.told: list[Any] = []

    def published(self, message: Any, queues: Any) -> None:
        if message.topic == "t" and threading.current_thread().name == "eventbus-journal":
            try:
                self.told.append(self.act(message))
            except JournalError as error:
                self.told.append(error)


def tell(bus: Any, audit: Audit) -> None:
    """Publish until that thread has told of it: the publisher may have been faster. It has told all once it flushed."""
    while not audit.told:
        bus.topic("t").publish("x", timeout=10)
        bus.flush(timeout=10)


async def tell_async(bus: Bus, audit: Audit) -> None:
    """The same."""
    while not audit.told:
        await bus.topic("t").publish("x")
        await bus.flush()


@pytest.fixture
def bus(tmp_path: Path) -> Any:
    with blocking.Bus(tmp_path / "j.db") as bus:
        yield bus
        bus.topic("other").publish(1, timeout=10)
        check(bus)


def test_what_does_not_wait_can_be_sent(bus: Any) -> None:
    audit = Audit(lambda message: bus.queue("audit").put_nowait(message.body))
    bus.observe(audit)
    tell(bus, audit)
    assert [type(told) for told in audit.told] == [int]
    assert bus.queue("audit").get(timeout=10).body == "x"


@pytest.mark.parametrize("short", [True, False], ids=["the short way", "the long way"])
def test_to_wait_until_it_is_written_is_refused_and_it_is_written(bus: Any, short: bool) -> None:
    headers = None if short else {"a": 1}
    audit = Audit(lambda message: bus.queue("audit").put(message.body, headers=headers, timeout=10))
    stop = bus.observe(audit)
    tell(bus, audit)
    stop()
    assert "written without that" in str(audit.told[0])
    assert bus.queue("audit").get(timeout=10).body == "x"


def test_to_wait_for_room_is_refused_and_nothing_is_sent(bus: Any) -> None:
    queue = bus.queue("audit", Policy(capacity=1, durable=False))
    queue.put("first")
    audit = Audit(lambda message: queue.put(message.body, timeout=10))
    bus.observe(audit)
    tell(bus, audit)
    assert "nothing was sent" in str(audit.told[0])
    assert [message.body for message in queue.peek(9)] == ["first"]


def iterate(queue: Any) -> None:
    with queue.consume(timeout=10) as consumer:
        next(consumer)


WAITS = {
    "get": lambda bus, queue: queue.get(timeout=10),
    "get_many": lambda bus, queue: queue.get_many(3, timeout=10),
    "get_many within": lambda bus, queue: queue.put_nowait(1) and queue.get_many(3, within=10, timeout=10),
    "consume": lambda bus, queue: iterate(queue),
    "join": lambda bus, queue: queue.put_nowait(1) and queue.join(timeout=10),
    "bus.join": lambda bus, queue: bus.join(timeout=10),
    "request": lambda bus, queue: bus.request(queue, 1, timeout=10),
    "replay": lambda bus, queue: list(bus.topic("t").replay(follow=True, timeout=10)),
    "flush": lambda bus, queue: bus.flush(timeout=10),
    "close": lambda bus, queue: bus.close(),
}
"""What a thread may wait for; with `bus.join`, a queue that has a consumer and is not settled."""


@pytest.mark.parametrize("way", WAITS)
def test_every_wait_is_refused(bus: Any, way: str) -> None:
    queue = bus.queue("audit", Policy(durable=False))
    watched = bus.queue("watched", Policy(durable=False))
    watched.put(1)
    audit = Audit(lambda message: WAITS[way](bus, queue))
    stop = bus.observe(audit)
    with watched.consume():
        tell(bus, audit)
        stop()
    assert [type(told) for told in audit.told] == [JournalError]
    assert "nothing can wait in the journal's own thread" in str(audit.told[0])
    assert queue.stats().out == 0


def test_what_comes_at_once_can_be_taken(bus: Any) -> None:
    queue = bus.queue("audit", Policy(durable=False))
    queue.put_many(range(6))

    def act(_: object) -> None:
        queue.get().ack()
        queue.get_nowait().ack()
        queue.get_many(2).ack()
        with queue.consume(until_empty=True) as consumer:
            for delivery in consumer:
                delivery.ack()
        with pytest.raises(TimeoutError):
            queue.get(timeout=0)

    audit = Audit(act)
    bus.observe(audit)
    tell(bus, audit)
    assert audit.told == [None]


@pytest.mark.anyio
async def test_so_it_is_for_who_awaits_a_message(tmp_path: Path) -> None:
    async with Bus(tmp_path / "j.db") as bus:
        queue = bus.queue("audit", Policy(durable=False))
        queue.put_nowait("there")

        async def get() -> Any:
            with await queue.get() as delivery:
                first = delivery.body
            with pytest.raises(JournalError, match="was not there"):
                await queue.get()
            with pytest.raises(JournalError, match="was not closed"):
                await bus.aclose()
            return first

        audit = Audit(lambda message: anyio.run(get))
        bus.observe(audit)
        await tell_async(bus, audit)
        assert audit.told == ["there"]


@pytest.mark.anyio
async def test_so_it_is_for_who_awaits(tmp_path: Path) -> None:
    async with Bus(tmp_path / "j.db") as bus:

        async def put() -> None:
            await bus.queue("audit").put("x")

        audit = Audit(lambda message: anyio.run(put))
        bus.observe(audit)
        await tell_async(bus, audit)
        assert isinstance(audit.told[0], JournalError)
        assert bus.queue("audit").stats().ready == 1


def test_a_log_handler_that_raises_in_that_thread_does_not_end_the_journal(
    bus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    logs = bus.queue("logs")

    class ToQueue(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if threading.current_thread().name == "eventbus-journal":
                logs.put(record.getMessage(), timeout=10)

    handler = ToQueue()
    logging.getLogger("eventbus").addHandler(handler)
    try:
        bus.queue("graves", Policy(capacity=1, overflow=Overflow.DROP_OLDEST))
        queue = bus.queue("q", Policy(dead_letter="graves"))
        queue.put_many([1, 2, 3])
        for delivery in queue.get_many(3, timeout=10):
            delivery.reject()
        bus.flush(timeout=10)
        assert logs.get(timeout=10).body.startswith("dead-letter queue 'graves' is full")
    finally:
        logging.getLogger("eventbus").removeHandler(handler)
    assert [type(args.exc_value) for args in raised] == [JournalError]
