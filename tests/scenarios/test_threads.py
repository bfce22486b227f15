"""Several event loops in several threads on one bus, with the interpreter switching threads as often as it can."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from eventbus import Bus, ClosedError, Delivery, Keyed, Policy, Priority, Queue
from tests.kit import turns
from tests.scenarios.conservation import intact

PATIENCE = 60.0  # seconds after which a thread that still runs is a deadlock
BACKENDS: list[dict[str, Any]] = [
    {"backend": "asyncio"},
    {"backend": "trio"},
    {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
]
POLICIES = {
    "fifo": Policy(capacity=8),
    "priority": Policy(Priority(), capacity=8),
    "partitions": Policy(Keyed(partitions=4), capacity=8),
    "keys": Policy(Keyed(), capacity=8),
    "sticky": Policy(Keyed(partitions=4, sticky=True), capacity=8),
}


@pytest.fixture(autouse=True)
def _restless() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


class Threads:
    """Async functions, each on an event loop in a thread of its own."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def start(self, function: Callable[[], Awaitable[None]], loop: int = 0) -> threading.Thread:
        def run() -> None:
            try:
                anyio.run(function, **BACKENDS[loop % len(BACKENDS)])
            except ClosedError:
                pass  # the bus closed when all was done
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def join(self) -> None:
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread hangs"
        assert not self.errors, self.errors


async def produce(queue: Queue[Any], producer: int, count: int, many: bool) -> None:
    bodies = [(producer, number) for number in range(count)]
    if many:
        for start in range(0, count, 20):
            await queue.put_many(bodies[start : start + 20], key=lambda body: f"key-{body[1] % 6}")
    else:
        for body in bodies:
            await queue.put(body, key=f"key-{body[1] % 6}", priority=body[1] % 3)


class Notes:
    """What one consumer saw: `fresh` the bodies that came unmarked, `again` those marked, `acked` those done."""

    def __init__(self) -> None:
        self.fresh: list[Any] = []
        self.again: list[Any] = []
        self.acked: list[Any] = []

    def see(self, delivery: Delivery[Any]) -> None:
        (self.again if delivery.redelivered else self.fresh).append(delivery.body)

    def ack(self, delivery: Delivery[Any]) -> None:
        self.acked.append(delivery.body)
        delivery.ack()


def judge(notes: list[Notes], expected: set[Any]) -> None:
    """Each message was acked once, and came unmarked once: whoever had it again was told."""
    assert Counter(body for note in notes for body in note.acked) == Counter(expected)
    assert Counter(body for note in notes for body in note.fresh) == Counter(expected)


async def consume(queue: Queue[Any], prefetch: int, notes: Notes, chance: random.Random) -> None:
    """Take what comes, give some of it back, and now and then begin anew."""
    while True:
        async with queue.consume(prefetch) as consumer:
            async for delivery in consumer:
                notes.see(delivery)
                fate = chance.random()
                if fate < 0.05:
                    delivery.release()
                elif fate < 0.1:
                    delivery.nack(delay=0)
                else:
                    notes.ack(delivery)
                if fate > 0.98:
                    break
            else:
                return


@pytest.mark.parametrize("many", [False, True], ids=["one-by-one", "many"])
@pytest.mark.parametrize("prefetch", [1, 16])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_threads_lose_and_double_nothing(policy: Policy, prefetch: int, many: bool, thorough: bool) -> None:
    count = 2_000 if thorough else 120
    bus, threads = Bus(), Threads()
    queue = bus.queue("work", policy)
    notes = [Notes() for _ in range(3)]
    for loop, seen in enumerate(notes):
        chance = random.Random(loop)
        threads.start(lambda seen=seen, chance=chance: consume(queue, prefetch, seen, chance), loop)
    producers = [threads.start(lambda n=n: produce(queue, n, count, many), n + 1) for n in range(3)]
    for thread in producers:
        thread.join(PATIENCE)
    anyio.run(settle, bus, queue)
    threads.join()
    judge(notes, {(producer, number) for producer in range(3) for number in range(count)})


async def settle(bus: Bus, queue: Queue[Any]) -> None:
    with anyio.fail_after(PATIENCE):
        await queue.join()
    intact(bus)
    await bus.aclose()


@pytest.mark.parametrize("sticky", [False, True], ids=["any-consumer", "sticky"])
def test_the_order_of_a_key_holds_across_threads(sticky: bool) -> None:
    count = 300
    bus, threads = Bus(), Threads()
    queue = bus.queue("work", Policy(Keyed(partitions=4, sticky=sticky), capacity=16))
    order: list[Any] = []  # appended to before the ack, so in the order of each lane

    async def take() -> None:
        async with queue.consume(3) as consumer:
            async for delivery in consumer:
                order.append(delivery.body)
                delivery.ack()

    for loop in range(3):
        threads.start(take, loop)
    producers = [threads.start(lambda n=n: produce(queue, n, count, False), n) for n in range(2)]
    for thread in producers:
        thread.join(PATIENCE)
    anyio.run(settle, bus, queue)
    threads.join()
    for producer in range(2):
        for key in range(6):
            numbers = [number for who, number in order if who == producer and number % 6 == key]
            assert numbers == sorted(numbers)
            assert len(numbers) == count // 6


def test_every_subscription_gets_all_across_threads() -> None:  # noqa: C901  # three small functions
    count = 200
    bus, threads = Bus(), Threads()
    topic = bus.topic("events")
    subscriptions = [topic.subscription(f"s{n}", Policy(capacity=4)) for n in range(3)]
    notes: list[list[Any]] = [[] for _ in subscriptions]

    async def take(n: int) -> None:
        async with subscriptions[n].consume(n + 1) as consumer:
            async for delivery in consumer:
                notes[n].append(delivery.body)
                delivery.ack()

    async def publish(n: int) -> None:
        for number in range(count):
            await topic.publish((n, number))

    for n in range(3):
        threads.start(lambda n=n: take(n), n)
    publishers = [threads.start(lambda n=n: publish(n), n) for n in range(2)]
    for thread in publishers:
        thread.join(PATIENCE)

    async def finish() -> None:
        with anyio.fail_after(PATIENCE):
            for subscription in subscriptions:
                await subscription.join()
        intact(bus)
        await bus.aclose()

    anyio.run(finish)
    threads.join()
    for seen in notes:
        for n in range(2):
            assert [number for who, number in seen if who == n] == list(range(count))


@pytest.mark.parametrize("loop", range(len(BACKENDS)), ids=["asyncio", "trio", "uvloop"])
def test_a_loop_that_has_ended_counts_as_its_consumers_gone(loop: int) -> None:
    bus = Bus()
    queue = bus.queue("work")

    async def hold_and_leave() -> None:
        consumer = queue.consume()
        await consumer.__aenter__()  # and never leaves: its loop ends with it
        await queue.put("held")
        await anext(aiter(consumer))

    anyio.run(hold_and_leave, **BACKENDS[loop])
    assert queue.stats().out == 1

    async def take() -> None:
        with anyio.fail_after(PATIENCE):
            delivery = await queue.get()
        assert delivery.body == "held"
        assert delivery.redelivered
        delivery.ack()

    anyio.run(take)
    intact(bus)
    assert queue.stats().consumers == 0


def test_a_waiter_cancelled_in_one_thread_passes_its_wake_to_another() -> None:
    bus, threads = Bus(), Threads()
    queue = bus.queue("work")
    taken: list[Any] = []
    count = 100

    async def impatient() -> None:
        for _ in range(count):
            with anyio.move_on_after(0.0005):
                delivery = await queue.get()
                taken.append(delivery.body)
                delivery.ack()

    async def patient() -> None:
        while True:
            delivery = await queue.get()
            taken.append(delivery.body)
            delivery.ack()

    async def put() -> None:
        for number in range(count):
            await queue.put(number)
            await anyio.lowlevel.checkpoint()

    for loop in range(2):
        threads.start(impatient, loop)
    threads.start(patient, 1)
    threads.start(put).join(PATIENCE)
    anyio.run(settle, bus, queue)
    threads.join()
    assert sorted(taken) == list(range(count))


@pytest.mark.parametrize("prefetch", [1, 16])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_consumers_cancelled_midway_lose_nothing(policy: Policy, prefetch: int, thorough: bool) -> None:
    count = 2_000 if thorough else 300
    bus, threads = Bus(), Threads()
    queue = bus.queue("work", policy)
    notes = [Notes() for _ in range(4)]

    async def fleeting(seen: Notes, chance: random.Random) -> None:
        """Is cancelled again and again, wherever it may be: asleep, with a message in hand, or between the two."""
        while True:
            with anyio.move_on_after(chance.random() * 0.003):
                async with queue.consume(prefetch) as consumer:
                    async for delivery in consumer:
                        seen.see(delivery)
                        if chance.random() < 0.3:
                            await anyio.lowlevel.checkpoint()  # where it may be cancelled, with this in hand
                        seen.ack(delivery)

    async def steady(seen: Notes) -> None:
        async with queue.consume(prefetch) as consumer:
            async for delivery in consumer:
                seen.see(delivery)
                seen.ack(delivery)

    for loop in range(3):
        threads.start(lambda n=loop: fleeting(notes[n], random.Random(n)), loop)
    threads.start(lambda: steady(notes[3]), 1)
    producers = [threads.start(lambda n=n: produce(queue, n, count, bool(n % 2)), n) for n in range(3)]
    for thread in producers:
        thread.join(PATIENCE)
    anyio.run(settle, bus, queue)
    threads.join()
    judge(notes, {(producer, number) for producer in range(3) for number in range(count)})


def test_priorities_hold_across_threads() -> None:
    bus, threads = Bus(), Threads()
    queue = bus.queue("work", Policy(Priority(), capacity=None))

    async def put(n: int) -> None:
        for number in range(200):
            await queue.put((n, number), priority=number % 5)

    for n in range(3):
        threads.start(lambda n=n: put(n), n)
    threads.join()
    taken = []
    while queue.stats().ready:
        delivery = queue.get_nowait()
        taken.append((-delivery.message.priority, delivery.offset))
        delivery.ack()
    assert len(taken) == 600
    assert taken == sorted(taken)
    intact(bus)


def test_fan_out_is_all_or_nothing_with_publishers_that_give_up() -> None:  # noqa: C901  # three small functions
    """Every subscription gets exactly what was published, in the same order, while publishers time out in the line."""
    bus, threads = Bus(), Threads()
    topic = bus.topic("events")
    subscriptions = [topic.subscription(f"s{n}", Policy(capacity=n + 1)) for n in range(3)]
    got: list[list[Any]] = [[] for _ in subscriptions]
    published: list[list[Any]] = [[] for _ in range(3)]

    async def publish(n: int) -> None:
        chance = random.Random(n)
        for number in range(120):
            with anyio.move_on_after(chance.choice([0.0005, 0.002, 1_000])) as scope:
                if number % 3:
                    await topic.publish((n, number))
                else:
                    await topic.publish_many([(n, number)])
            if not scope.cancelled_caught:
                published[n].append((n, number))

    async def take(n: int) -> None:
        async with subscriptions[n].consume(1 + 7 * n) as consumer:
            async for delivery in consumer:
                got[n].append(delivery.body)
                delivery.ack()
                if len(got[n]) % 10 == 0:
                    await anyio.lowlevel.checkpoint()

    for n in range(3):
        threads.start(lambda n=n: take(n), n)
    for thread in [threads.start(lambda n=n: publish(n), n + 1) for n in range(3)]:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a publisher hangs"

    async def finish() -> None:
        with anyio.fail_after(PATIENCE):
            for subscription in subscriptions:
                await subscription.join()
        intact(bus)
        await bus.aclose()

    anyio.run(finish)
    threads.join()
    assert got[0] == got[1] == got[2]
    for n in range(3):
        assert [body for body in got[0] if body[0] == n] == published[n]


ENDINGS = {"get": "a message", "put": "room", "consume": "a message"}


@pytest.mark.parametrize("call", ENDINGS)
@pytest.mark.parametrize("loop", range(len(BACKENDS)), ids=["asyncio", "trio", "uvloop"])
def test_a_loop_that_ends_while_its_tasks_wait_holds_up_nobody_behind(loop: int, call: str) -> None:
    """The loop ends in the common way, its tasks cancelled, with others behind them in the line in other loops."""
    bus, threads = Bus(), Threads()
    queue = bus.queue("work", Policy(capacity=1))
    if call == "put":
        queue.put_nowait("full")
    stop, waiting = threading.Event(), threading.Event()
    done: list[Any] = []

    async def wait() -> None:
        if call == "put":
            await queue.put("behind")
            done.append("behind")
        elif call == "get":
            done.append((await queue.get()).body)
        else:
            async with queue.consume(16) as consumer:
                done.append((await anext(aiter(consumer))).body)

    async def ends() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait)
            await turns()
            waiting.set()
            while not stop.is_set():  # it is set in another thread
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    first = threads.start(ends, loop)
    assert waiting.wait(PATIENCE)
    second = threads.start(wait, loop + 1)
    stop.set()
    first.join(PATIENCE)
    assert not first.is_alive()
    assert not done
    if call == "put":
        queue.get_nowait().ack()
    else:
        queue.put_nowait("behind")
    second.join(PATIENCE)
    assert not second.is_alive(), f"nobody woke it for {ENDINGS[call]}"
    assert done == ["behind"]
    intact(bus)
    threads.join()


def abandon(function: Callable[[], Coroutine[Any, Any, None]], uvloop: bool) -> Any:
    """Start a call, let it wait, and close its loop over it. What is returned keeps the task from being collected."""
    loop = import_module("uvloop").new_event_loop() if uvloop else asyncio.new_event_loop()
    task = loop.create_task(function())
    for _ in range(10):
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    task._log_destroy_pending = False
    return task


@pytest.mark.parametrize("call", ENDINGS)
@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_waiters_of_a_loop_that_was_closed_over_them_are_passed_by(uvloop: bool, call: str) -> None:
    """The bad way: the loop is gone and its waiters were never told. The wake meant for them goes on."""
    bus, threads = Bus(), Threads()
    queue = bus.queue("work", Policy(capacity=1))
    if call == "put":
        queue.put_nowait("full")
    done: list[Any] = []

    async def wait() -> None:
        if call == "put":
            await queue.put("behind")
            done.append("behind")
        elif call == "get":
            done.append((await queue.get()).body)
        else:
            async with queue.consume(16) as consumer:
                done.append((await anext(aiter(consumer))).body)

    abandoned = [abandon(wait, uvloop) for _ in range(2)]
    waits = threading.Event()

    async def wait_too() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await turns()
            waits.set()

    second = threads.start(wait_too)
    assert waits.wait(PATIENCE)
    if call == "put":
        queue.get_nowait().ack()
    else:
        queue.put_nowait("behind")
    second.join(PATIENCE)
    assert not second.is_alive(), f"nobody woke it for {ENDINGS[call]}"
    assert done == ["behind"]
    intact(bus)
    del abandoned


def test_a_bus_serves_a_loop_after_another_in_the_same_thread() -> None:
    bus = Bus()
    queue = bus.queue("work", Policy(capacity=2))

    async def turn(n: int) -> None:
        async def take() -> None:
            async with queue.consume(16) as consumer:
                async for delivery in consumer:
                    delivery.ack()

        async with anyio.create_task_group() as group:
            group.start_soon(take)
            for number in range(20):
                await queue.put((n, number))
            await queue.join()
            group.cancel_scope.cancel()

    for n in range(6):
        anyio.run(turn, n, **BACKENDS[n % len(BACKENDS)])
        intact(bus)
    assert queue.stats().acked == 120
    assert queue.stats().consumers == 0


def test_threads_and_tasks_of_two_loops_share_a_queue_in_order_and_lose_nothing(  # noqa: C901
    thorough: bool,
) -> None:
    """Producers and consumers of three kinds: threads, asyncio tasks and trio tasks. Each producer's order holds."""
    count = 3_000 if thorough else 200
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=5))
    blocking = bus.blocking.queue("q")
    seen: dict[str, list[tuple[str, int, int]]] = {}

    def put_in_thread() -> None:
        for serial in range(count):
            blocking.put(("thread", serial))

    async def put_in_task(name: str) -> None:
        for serial in range(count):
            await queue.put((name, serial))

    def take_in_thread() -> None:
        mine = seen.setdefault("thread", [])
        with suppress(ClosedError), blocking.consume() as consumer:  # all may be done before it begins
            for delivery in consumer:
                mine.append((*delivery.body, delivery.offset))
                delivery.ack()

    async def take_in_task(name: str) -> None:
        mine = seen.setdefault(name, [])
        with suppress(ClosedError):
            async with queue.consume() as consumer:
                async for delivery in consumer:
                    mine.append((*delivery.body, delivery.offset))
                    delivery.ack()

    was = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        works = [
            put_in_thread,
            lambda: anyio.run(put_in_task, "asyncio"),
            lambda: anyio.run(put_in_task, "trio", backend="trio"),
        ]
        takers = [
            take_in_thread,
            lambda: anyio.run(take_in_task, "asyncio"),
            lambda: anyio.run(take_in_task, "trio", backend="trio"),
        ]
        threads = [threading.Thread(target=work, daemon=True) for work in (*works, *takers)]
        for thread in threads:
            thread.start()
        for thread in threads[:3]:
            thread.join(60)
            assert not thread.is_alive(), "a producer hangs"
        blocking.join(timeout=60)
        intact(bus)
        bus.blocking.close()
        for thread in threads[3:]:
            thread.join(60)
            assert not thread.is_alive(), "a consumer hangs"
    finally:
        sys.setswitchinterval(was)
    everything = [message for mine in seen.values() for message in mine]
    assert sorted(m[:2] for m in everything) == sorted(
        (name, serial) for name in ("thread", "asyncio", "trio") for serial in range(count)
    )
    for mine in seen.values():
        # Nobody reserves: an idle consumer may be given what another had reserved, which is older than its last.
        assert mine == sorted(mine, key=lambda message: message[2]), "a consumer got messages out of order"
    for name in ("thread", "asyncio", "trio"):
        by_offset = sorted((m for m in everything if m[0] == name), key=lambda message: message[2])
        assert [m[1] for m in by_offset] == list(range(count))
