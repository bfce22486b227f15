"""What is sent one by one and written together: what joins, what does not, and that nobody can tell."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from eventbus import (
    Bus,
    ClosedError,
    FullError,
    JournalError,
    Observer,
    Overflow,
    Policy,
    Priority,
    Retention,
    blocking,
)
from eventbus._core import gathering
from tests.kit.clock import ManualClock
from tests.kit.journals import Plan, be_quiet, check, drain, inject, writer_of

FULL = sqlite3.SQLITE_FULL


class World:
    """A bus whose writer takes nothing until it is told, and what it takes then."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.bus = blocking.Bus(journal=path, clock=self.clock)
        self.gate = threading.Event()
        self.postings: list[Any] = []

    def hold(self) -> None:
        be_quiet(self.bus)
        outbox = writer_of(self.bus).outbox
        take = outbox.take

        def wait() -> Any:
            self.gate.wait(30)
            haul = take()
            self.postings += haul.items
            return haul

        outbox.take = wait

    def post(self, name: str, body: Any = 0, priority: int = 0) -> int:
        """As `publish` and `put` do, without the wait."""
        bus, journaling = self.bus, self.bus._host.journaling
        state = bus._engine.queues.get(name)
        if state is not None:
            posted = journaling.put(bus.queue(name)._alone, body, priority)
        else:
            posted = journaling.publish(bus.topic(name)._state, body, priority)
        assert posted is not None
        offset: int = posted[0]
        return offset

    def go(self) -> list[list[Any]]:
        """Let it be written: the bodies of each posting."""
        self.gate.set()
        self.bus.flush()
        return [list(posting.batch.bodies) for posting in self.postings if posting.batch is not None]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "shop.db")
    with world.bus as bus:
        yield world
        world.gate.set()
        bus.flush()
        check(bus)


def prepared(world: World) -> blocking.Bus:
    """With routes that are known, as they are once something was published."""
    bus = world.bus
    bus.topic("orders").subscription("billing")
    bus.topic("other")
    bus.queue("jobs")
    bus.queue("ranks", Policy(Priority()))
    for name in ("orders", "other"):
        bus.topic(name).publish(-1)
    bus.flush()
    drain(bus.queue("orders/billing"))
    world.hold()
    return bus


def test_what_goes_to_the_same_place_is_written_together(world: World) -> None:
    bus = prepared(world)
    offsets = [world.post("orders", n) for n in range(3)]
    assert offsets == list(range(offsets[0], offsets[0] + 3))
    assert world.go() == [[0, 1, 2]]
    assert drain(bus.queue("orders/billing")) == list(zip(offsets, range(3), strict=True))
    assert [(m.offset, m.body) for m in bus.topic("orders").replay(offsets[0])] == [
        (o, o - offsets[0]) for o in offsets
    ]


@pytest.mark.parametrize("between", [
    lambda world: world.post("other", "x"),
    lambda world: world.post("jobs", "x"),
    lambda world: world.post("orders", "x", 7),
    lambda world: world.bus.queue("jobs").put_nowait("x"),
    lambda world: world.bus.queue("memory", Policy(durable=False)).put("x"),
], ids=["topic", "queue", "priority", "another way", "an offset in memory"])  # fmt: skip
def test_what_comes_between_parts_it(world: World, between: Any) -> None:
    prepared(world)
    first = world.post("orders", 1)
    between(world)
    last = world.post("orders", 2)
    assert last > first
    assert [bodies for bodies in world.go() if "x" not in bodies] == [[1], [2]]


def test_a_posting_takes_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST", 2)
    prepared(world)
    for n in range(5):
        world.post("jobs", n)
    assert world.go() == [[0, 1], [2, 3], [4]]


def test_it_takes_in_nothing_once_it_was_taken(world: World) -> None:
    prepared(world)
    world.post("jobs", 1)
    assert world.go() == [[1]]
    world.post("jobs", 2)
    assert world.go() == [[1], [2]]


def test_a_new_binding_parts_it_and_gets_what_comes_after(world: World) -> None:
    bus = prepared(world)
    world.post("orders", 1)
    late = bus.topic("orders").subscription("late")
    journaling = bus._host.journaling
    assert journaling.publish(bus.topic("orders")._state, 2, 0) is None, "the routes are to be found first"
    done = threading.Thread(target=bus.topic("orders").publish, args=(2,))
    done.start()
    world.gate.set()
    done.join(30)
    assert [body for _, body in drain(late)] == [2]
    assert [body for _, body in drain(bus.queue("orders/billing"))] == [1, 2]


def test_each_has_its_own_time(world: World) -> None:
    bus = prepared(world)
    times = []
    for n in range(4):
        world.post("orders", n)
        times.append(world.clock.time())
        world.clock.advance(1)
    world.go()
    billing = bus.queue("orders/billing")
    assert [message.time for message in bus.topic("orders").replay()][1:] == times
    two = billing.get_many(2)
    assert [delivery.message.time for delivery in two] == times[:2]
    two.ack()
    assert [message.time for message in billing.peek(9)] == times[2:]


def test_it_keeps_no_body_alive(world: World) -> None:
    prepared(world)
    world.post("jobs", "x" * 100)
    assert writer_of(world.bus).outbox.gathering.bodies
    world.go()
    assert not hasattr(writer_of(world.bus).outbox.gathering, "bodies")


# what goes the long way


def refused(bus: Any) -> bool:
    """Whether neither a topic nor a queue takes anything by the short way."""
    journaling = bus._host.journaling
    topic = journaling.publish(bus.topic("orders")._state, 0, 0)
    return topic is None and journaling.put(bus.queue("jobs")._alone, 0, 0) is None


def test_before_there_is_a_journal_and_after_its_end(tmp_path: Path) -> None:
    bus = blocking.Bus(journal=tmp_path / "shop.db")
    topic, jobs = bus.topic("orders"), bus.queue("jobs")
    assert refused(bus)
    for call in (topic.publish, jobs.put):
        with pytest.raises(JournalError, match="enter it first"):
            call(1)
    with bus:
        topic.publish(1)
        assert not refused(bus)
    for call in (topic.publish, jobs.put):
        with pytest.raises(ClosedError):
            call(1)


def test_what_somebody_watches(world: World) -> None:
    bus = prepared(world)
    world.gate.set()
    told: list[Any] = []

    class Watch(Observer):
        def published(self, message: Any, queues: Any) -> None:
            told.append((message.body, list(queues)))

    bus.observe(Watch())
    assert refused(bus)
    bus.topic("orders").publish(1)
    bus.queue("jobs").put(2)
    assert told == [(1, ["orders/billing"]), (2, ["jobs"])]


def test_for_a_journal_that_broke_down(world: World) -> None:
    bus = prepared(world)
    writer_of(bus).outbox.broken = "a test"
    assert refused(bus)
    writer_of(bus).outbox.broken = None


def test_for_a_queue_that_has_ended(world: World) -> None:
    bus = prepared(world)
    jobs = bus.queue("jobs")
    jobs._state.closed = True
    assert bus._host.journaling.put(jobs._alone, 0, 0) is None
    jobs._state.closed = False


def test_where_there_is_no_room(tmp_path: Path) -> None:
    with blocking.Bus(journal=tmp_path / "shop.db") as bus:
        few = bus.queue("few", Policy(capacity=2, overflow=Overflow.FAIL))
        bus.topic("orders").subscription("few", Policy(capacity=2))
        few.put(1)
        few.put(2)
        with pytest.raises(FullError):
            few.put(3)
        bus.topic("orders").publish(1)
        bus.topic("orders").publish(2)
        with pytest.raises(TimeoutError):
            bus.topic("orders").publish(3, timeout=0.01)
        assert [body for _, body in drain(bus.queue("orders/few"))] == [1, 2]
        check(bus)


def test_a_priority_that_the_journal_has_no_room_for(world: World) -> None:
    for call in (world.bus.topic("orders").publish, world.bus.queue("jobs").put):
        with pytest.raises(ValueError, match="64 bits"):
            call(1, priority=1 << 63)


# failing, waiting, retaining


def test_all_of_it_fails_together_and_leaves_nothing(tmp_path: Path) -> None:
    plan = Plan(1, FULL, wanted="COMMIT".__eq__)
    plan.armed = False
    bus = inject(blocking.Bus(journal=tmp_path / "shop.db"), plan)
    failed: list[BaseException] = []

    def publish() -> None:
        try:
            bus.topic("orders").publish(1)
        except JournalError as error:
            failed.append(error)

    with bus:
        billing = bus.topic("orders").subscription("billing", Policy(capacity=5))
        bus.topic("orders").publish(0)
        world = World.__new__(World)
        world.bus, world.gate, world.postings = bus, threading.Event(), []
        world.hold()
        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        outbox = writer_of(bus).outbox
        while sum(len(posting.waiters) for posting in outbox.items) < 4:
            threading.Event().wait(0.001)
        assert len(outbox.items) == 1
        plan.armed = True
        world.gate.set()
        for thread in threads:
            thread.join(30)
        assert len({id(error) for error in failed}) == 4, "each has an error of its own"
        plan.armed = False
        for n in range(4):
            bus.topic("orders").publish(n)
        assert [body for _, body in drain(billing)] == [0, 0, 1, 2, 3]
        check(bus)


@pytest.mark.anyio
async def test_a_cancelled_publish_takes_its_course_and_the_others_are_told(tmp_path: Path) -> None:
    async with Bus(journal=tmp_path / "shop.db") as bus:
        topic = bus.topic("orders")
        await topic.publish(-1)
        told: list[int] = []

        async def publish(n: int) -> None:
            await topic.publish(n)
            told.append(n)

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                for n in range(3):
                    tasks.start_soon(publish, n)
                scope.cancel()
                await topic.publish(9)
            assert scope.cancelled_caught
        await bus.flush()
        assert sorted(told) == [0, 1, 2]
        kept = {message.body async for message in topic.replay()}
        assert kept - {9} == {-1, 0, 1, 2}


def test_a_topic_in_memory_with_a_durable_queue(world: World) -> None:
    topic = world.bus.topic("memory", durable=False, retain=Retention(count=2))
    queue = topic.subscription("durable")
    topic.publish(0)
    world.hold()
    for n in range(1, 4):
        world.post("memory", n)
    assert world.go() == [[1, 2, 3]]
    assert [body for _, body in drain(queue)] == [0, 1, 2, 3]
    assert [message.body for message in topic.replay()] == [2, 3]
