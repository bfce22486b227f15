"""All sorts of tasks on one bus, in every order that a seed can bring about: nothing is lost, doubled or stuck."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from eventbus import Bus, ClosedError, Keyed, Overflow, Policy, Priority, Queue
from tests.kit import interleave
from tests.scenarios.conservation import intact

ORDERS = {
    "fifo": None,
    "priority": Priority(),
    "keys": Keyed(),
    "partitions": Keyed(partitions=3),
    "sticky": Keyed(partitions=3, sticky=True),
}
PATIENCE = 10.0  # seconds after which a run is stuck


class Play:
    """One run: the tasks, what they put, and what became of it."""

    def __init__(self, seed: int, policy: Policy) -> None:
        self.chance = random.Random(seed)
        self.policy = policy
        self.bus = Bus()
        self.put: Counter[Any] = Counter()
        self.fresh: Counter[Any] = Counter()
        self.acked: Counter[Any] = Counter()
        self.rejected: Counter[Any] = Counter()
        self.purges = 0

    async def pause(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await anyio.lowlevel.checkpoint()

    async def maybe_cancelled(self, call: Callable[[], Awaitable[Any]], group: anyio.abc.TaskGroup) -> bool:
        """Make a call that somebody may cancel some turns later; whether it came to its end."""
        if self.chance.random() < 0.6:
            await call()
            return True
        scope = anyio.CancelScope()

        async def cancel() -> None:
            for _ in range(self.chance.randrange(8)):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        group.start_soon(cancel)
        with scope:
            await call()
            return True
        return False

    def settle(self, delivery: Any) -> None:
        body, fate = delivery.body, self.chance.random()
        self.fresh[body] += not delivery.redelivered
        if fate < 0.1:
            delivery.nack(delay=0, error="bad luck")
        elif fate < 0.2:
            delivery.release()
        elif fate < 0.25:
            self.rejected[body] += 1
            delivery.reject("not wanted")
        else:
            self.acked[body] += 1
            delivery.ack()

    async def produce(self, who: int, queue: Queue[Any], group: anyio.abc.TaskGroup) -> None:
        for number in range(8):
            body = (who, number)
            key, priority = f"k{self.chance.randrange(5)}", self.chance.randrange(3)
            if self.chance.random() < 0.3:
                done = await self.maybe_cancelled(lambda b=body, k=key: queue.put_many([b], key=k), group)
            else:
                done = await self.maybe_cancelled(lambda b=body, k=key, p=priority: queue.put(b, k, None, p), group)
            self.put[body] += done
            await self.pause()

    async def consume(self, queue: Queue[Any], group: anyio.abc.TaskGroup) -> None:
        """Begins anew again and again, sometimes with a message in hand, sometimes cancelled while it waits."""

        async def some() -> None:
            async with queue.consume(self.chance.choice([1, 2, 16])) as consumer:
                for _ in range(self.chance.randrange(1, 6)):
                    delivery = await anext(aiter(consumer))
                    if self.chance.random() < 0.2:
                        self.fresh[delivery.body] += not delivery.redelivered
                        return  # unsettled: it is released
                    self.settle(delivery)
                    await self.pause()

        try:
            while True:
                await self.maybe_cancelled(some, group)
                await anyio.lowlevel.checkpoint()
        except StopAsyncIteration:
            return

    async def receive(self, queue: Queue[Any], group: anyio.abc.TaskGroup) -> None:
        async def some() -> None:
            if self.chance.random() < 0.5:
                self.settle(await queue.get())
            else:
                for delivery in await queue.get_many(3):
                    self.settle(delivery)

        while True:
            await self.maybe_cancelled(some, group)
            await self.pause()
            await anyio.lowlevel.checkpoint()

    async def meddle(self, queue: Queue[Any]) -> None:
        """Pause and resume, look, purge, withdraw; and check at every step."""
        for _ in range(15):
            what = self.chance.randrange(6)
            if what == 0:
                queue.pause()
                await self.pause()
                intact(self.bus)
                queue.resume()
            elif what == 1:
                queue.peek(3)
            elif what == 2 and self.purges < 2:
                self.purges += 1
                queue.purge()
            elif what == 3:
                for message in queue.peek(1):
                    assert queue.cancel(message.offset)
            await self.pause()
            intact(self.bus)


POLICIES = {name: Policy(**({} if order is None else {"order": order}), capacity=2) for name, order in ORDERS.items()}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_in_whatever_order_tasks_run_each_message_is_settled_once(policy: Policy, backend: str, thorough: bool) -> None:
    sticky = isinstance(policy.order, Keyed) and policy.order.sticky
    for seed in range(1_500 if thorough else 40):
        play = Play(seed, policy)
        queue = play.bus.queue("q", policy)

        async def run(play: Play = play, queue: Queue[Any] = queue) -> None:
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as group:
                    for _ in range(2):
                        group.start_soon(play.consume, queue, group)
                    group.start_soon(play.consume if sticky else play.receive, queue, group)
                    async with anyio.create_task_group() as producing:
                        for who in range(3):
                            producing.start_soon(play.produce, who, queue, producing)
                        producing.start_soon(play.meddle, queue)
                    await queue.join()
                    intact(play.bus)
                    group.cancel_scope.cancel()

        interleave(seed, run, backend)
        intact(play.bus)
        stats = queue.stats()
        told = f"seed {seed}: {stats}"
        assert (stats.ready, stats.out, stats.consumers, stats.waiting_putters) == (0, 0, 0, 0), told
        assert stats.published == play.put.total(), told
        assert set(play.put.values()) <= {0, 1}, told
        assert all(count == 1 for count in (play.acked + play.rejected).values()), told
        assert all(count == 1 for count in (+play.fresh).values()), f"{told}: delivered twice, and the second untold"
        assert stats.acked == play.acked.total(), told
        assert stats.acked + stats.dead + stats.purged == stats.published, told
        assert not play.bus._engine.entry.blocked, told


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_whatever_order_tasks_run_a_publish_reaches_all_or_none(backend: str, thorough: bool) -> None:
    for seed in range(1_500 if thorough else 60):
        interleave(seed, lambda seed=seed: fan_out(seed), backend)


async def fan_out(seed: int) -> None:  # noqa: C901  # three small functions
    """Publishers that give up, two subscriptions that stay, and others that come and go."""
    play = Play(seed, Policy())
    bus = play.bus
    topic = bus.topic("t")
    staying = [topic.subscription(f"s{n}", Policy(capacity=n + 1)) for n in range(2)]
    got: list[list[Any]] = [[], []]

    async def take(n: int) -> None:
        async with staying[n].consume(play.chance.choice([1, 4])) as consumer:
            async for delivery in consumer:
                got[n].append(delivery.body)
                delivery.ack()
                await play.pause()

    async def publish(who: int, group: anyio.abc.TaskGroup) -> None:
        for number in range(8):
            body = (who, number)
            if play.chance.random() < 0.3:
                done = await play.maybe_cancelled(lambda b=body: topic.publish_many([b]), group)
            else:
                done = await play.maybe_cancelled(lambda b=body: topic.publish(b), group)
            play.put[body] += done
            await play.pause()

    async def come_and_go() -> None:
        for _ in range(4):
            overflow = play.chance.choice([Overflow.WAIT, Overflow.DROP_OLDEST])
            passing = topic.subscription("passing", Policy(capacity=1, overflow=overflow))
            for _ in range(6):
                await play.pause()
                intact(bus)
                await anyio.lowlevel.checkpoint()
            await passing.unsubscribe()
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for n in range(2):
                group.start_soon(take, n)
            async with anyio.create_task_group() as publishing:
                for who in range(3):
                    publishing.start_soon(publish, who, publishing)
                publishing.start_soon(come_and_go)
            for subscription in staying:
                await subscription.join()
            intact(bus)
            group.cancel_scope.cancel()
    assert got[0] == got[1], f"seed {seed}"
    assert Counter(got[0]) == +play.put, f"seed {seed}"
    for who in range(3):
        numbers = [number for other, number in got[0] if other == who]
        assert numbers == sorted(numbers), f"seed {seed}"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_whatever_order_tasks_run_a_transaction_is_whole(backend: str, thorough: bool) -> None:
    for seed in range(1_500 if thorough else 60):
        interleave(seed, lambda seed=seed: transact(seed), backend)


async def transact(seed: int) -> None:  # noqa: C901  # three small functions
    """Movers that take from one queue and put several into others in one step, among plain puts, some given up."""
    play = Play(seed, Policy())
    bus = play.bus
    source = bus.queue("source", Policy(capacity=3))
    targets = [bus.queue(f"t{n}", Policy(capacity=n + 2)) for n in range(3)]
    parts: Counter[Any] = Counter()
    whole: dict[Any, int] = {}

    async def move(group: anyio.abc.TaskGroup) -> None:
        async def some() -> None:
            async with source.consume(play.chance.choice([1, 4])) as consumer:
                async for delivery in consumer:
                    sizes = [play.chance.randrange(target.policy.capacity + 1) for target in targets]
                    async with bus.transaction() as tx:
                        for target, size in zip(targets, sizes, strict=True):
                            for _ in range(size):
                                tx.put(target, delivery.body)
                        tx.ack(delivery)
                    assert delivery.body not in whole, f"seed {seed}: moved twice"
                    whole[delivery.body] = sum(sizes)
                    await play.pause()

        while True:
            await play.maybe_cancelled(some, group)
            await anyio.lowlevel.checkpoint()

    async def take(target: Queue[Any]) -> None:
        async with target.consume(play.chance.choice([1, 4])) as consumer:
            async for delivery in consumer:
                parts[delivery.body] += 1
                delivery.ack()
                intact(bus)
                await play.pause()

    async def disturb(target: Queue[Any], group: anyio.abc.TaskGroup) -> None:
        for number in range(6):
            done = await play.maybe_cancelled(lambda n=number: target.put(("alone", target.name, n)), group)
            play.put["alone", target.name, number] += done
            await play.pause()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for target in targets:
                group.start_soon(take, target)
            for _ in range(2):
                group.start_soon(move, group)
            async with anyio.create_task_group() as putting:
                for target in targets:
                    putting.start_soon(disturb, target, putting)
                for number in range(12):
                    await source.put(number)
            for queue in (source, *targets):
                await queue.join()
            intact(bus)
            group.cancel_scope.cancel()
    assert set(whole) == set(range(12)), f"seed {seed}"
    assert parts == +Counter(whole) + +play.put, f"seed {seed}"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_in_whatever_order_tasks_run_all_end_with_the_bus(policy: Policy, backend: str, thorough: bool) -> None:
    for seed in range(500 if thorough else 15):
        play = Play(seed, policy)
        queue = play.bus.queue("q", policy)

        async def ended(function: Callable[..., Awaitable[None]], *args: Any) -> None:
            with contextlib.suppress(ClosedError):
                await function(*args)

        async def run(play: Play = play, queue: Queue[Any] = queue) -> None:
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as group:
                    for who in range(3):
                        group.start_soon(ended, play.produce, who, queue, group)
                        group.start_soon(ended, play.consume, queue, group)
                    group.start_soon(ended, queue.join)
                    group.start_soon(ended, play.bus.join)
                    for _ in range(play.chance.randrange(40)):
                        await anyio.lowlevel.checkpoint()
                    intact(play.bus)
                    await play.bus.aclose()

        interleave(seed, run, backend)
        play.bus._engine.check()
