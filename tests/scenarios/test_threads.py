"""Several event loops in several threads on one bus, with the interpreter switching threads as often as it can."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from eventbus import Bus, ClosedError, Keyed, Policy, Priority, Queue
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


async def consume(queue: Queue[Any], prefetch: int, seen: list[tuple[Any, bool]], chance: random.Random) -> None:
    """Take what comes, give some of it back, and now and then begin anew."""
    while True:
        async with queue.consume(prefetch) as consumer:
            async for delivery in consumer:
                fate = chance.random()
                if fate < 0.05:
                    delivery.release()
                elif fate < 0.1:
                    delivery.nack()
                else:
                    seen.append((delivery.body, delivery.redelivered))
                    delivery.ack()
                if fate > 0.98:
                    break
            else:
                return


@pytest.mark.parametrize("many", [False, True], ids=["one-by-one", "many"])
@pytest.mark.parametrize("prefetch", [1, 5])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_threads_lose_and_double_nothing(policy: Policy, prefetch: int, many: bool, thorough: bool) -> None:
    count = 2_000 if thorough else 120
    bus, threads = Bus(), Threads()
    queue = bus.queue("work", policy)
    notes: list[list[tuple[Any, bool]]] = [[] for _ in range(3)]
    for loop, seen in enumerate(notes):
        chance = random.Random(loop)
        threads.start(lambda seen=seen, chance=chance: consume(queue, prefetch, seen, chance), loop)
    producers = [threads.start(lambda n=n: produce(queue, n, count, many), n + 1) for n in range(3)]
    for thread in producers:
        thread.join(PATIENCE)
    anyio.run(settle, bus, queue)
    threads.join()
    acked = Counter(body for seen in notes for body, _ in seen)
    assert acked == Counter((producer, number) for producer in range(3) for number in range(count))


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
