"""Every awaiting call, cancelled at every step that it can be suspended in, in every way there is.

Two of the same call wait, one behind the other; what they wait for comes; the first is cancelled some turns of the
event loop before or after that. It must have done all or nothing, leave nothing behind, and pass its wake on: the
second gets what came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, ClassVar

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from eventbus import Bus, Keyed, Policy, Priority, Retention
from tests.kit import turns
from tests.scenarios.conservation import intact

pytestmark = pytest.mark.anyio

NOTHING = object()


class Call:
    """A call in a task of its own, that can be cancelled in three ways."""

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self.function = function
        self.scope = anyio.CancelScope()
        self.task: asyncio.Task[Any] | None = None
        self.result: Any = NOTHING
        self.ended = False

    async def run(self) -> None:
        try:
            if self.task is not None:
                self.result = await self.function()
            else:
                with self.scope:
                    self.result = await self.function()
        except asyncio.CancelledError:
            if self.task is None:
                raise
        finally:
            self.ended = True

    def start(self, group: anyio.abc.TaskGroup, how: str) -> None:
        if how == "task.cancel":
            self.task = asyncio.create_task(self.run())
        else:
            group.start_soon(self.run)

    def cancel(self, how: str) -> None:
        if self.task is not None:
            self.task.cancel()
        elif how == "deadline":
            self.scope.deadline = anyio.current_time()
        else:
            self.scope.cancel()


class Scene:
    """One kind of call: what it awaits, what lets one of those who wait go on, and what it must have done."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.waked = 0

    async def prepare(self) -> None:
        """What must be there before anybody waits."""

    async def call(self, who: str) -> Any:
        raise NotImplementedError

    def wake(self) -> None:
        raise NotImplementedError

    def judge(self, results: dict[str, Any]) -> None:
        """What must hold at the end; ``results`` are those of the calls that were not cancelled."""


class Getting(Scene):
    policy = Policy()

    async def prepare(self) -> None:
        self.queue = self.bus.queue("q", self.policy)

    async def call(self, who: str) -> Any:
        delivery = await self.queue.get()
        delivery.ack()
        return delivery.body

    def wake(self) -> None:
        self.waked += 1
        self.queue.put_nowait(self.waked, key=f"k{self.waked}")

    def judge(self, results: dict[str, Any]) -> None:
        stats = self.queue.stats()
        assert (stats.acked, stats.ready, stats.out) == (len(results), self.waked - len(results), 0)
        assert sorted(results.values()) == list(range(1, len(results) + 1))


class GettingByPriority(Getting):
    policy = Policy(Priority())


class GettingByKey(Getting):
    policy = Policy(Keyed())


class GettingMany(Getting):
    async def call(self, who: str) -> Any:
        batch = await self.queue.get_many(1)
        batch.ack()
        return batch[0].body


class Gathering(Getting):
    """Has some and waits for more: if it is cancelled, what it has goes back."""

    async def call(self, who: str) -> Any:
        batch = await self.queue.get_many(2, within=1_000)
        batch.ack()
        return len(batch)

    def wake(self) -> None:
        super().wake()
        super().wake()

    def judge(self, results: dict[str, Any]) -> None:
        stats = self.queue.stats()
        assert stats.out == 0
        assert stats.redelivered == 0
        assert stats.acked == sum(results.values()) == 2 * len(results)


class Consuming(Getting):
    prefetch = 1
    options: ClassVar[dict[str, Any]] = {}

    async def call(self, who: str) -> Any:
        async with self.queue.consume(self.prefetch, **self.options) as consumer:
            delivery = await anext(aiter(consumer))
            delivery.ack()
            return delivery.body


class ConsumingAhead(Consuming):
    prefetch = 64


class ConsumingInFront(Consuming):
    options: ClassVar[dict[str, Any]] = {"priority": 5}


class ConsumingKeyed(Consuming):
    policy = Policy(Keyed(partitions=3))


class Putting(Scene):
    async def prepare(self) -> None:
        self.queue = self.bus.queue("q", Policy(capacity=1))
        await self.queue.put("first")

    async def call(self, who: str) -> Any:
        await self.queue.put(who)
        return who

    def wake(self) -> None:
        self.waked += 1
        self.queue.get_nowait().ack()

    def judge(self, results: dict[str, Any]) -> None:
        stats = self.queue.stats()
        assert stats.published == 1 + len(results)
        assert stats.waiting_putters == 0
        assert [message.body for message in self.queue.peek(10)] == list(results.values())[self.waked - 1 :]


class PuttingMany(Putting):
    async def call(self, who: str) -> Any:
        await self.queue.put_many([who])
        return who


class Publishing(Scene):
    """To three subscriptions, of which two are full."""

    async def prepare(self) -> None:
        self.topic = self.bus.topic("t")
        self.full = [self.topic.subscription(name, Policy(capacity=1)) for name in "ab"]
        await self.topic.publish("first")
        self.roomy = self.topic.subscription("c")

    async def call(self, who: str) -> Any:
        await self.topic.publish(who)
        return who

    def wake(self) -> None:
        self.waked += 1
        for subscription in self.full:
            subscription.get_nowait().ack()

    def judge(self, results: dict[str, Any]) -> None:
        assert [message.body for message in self.roomy.peek(10)] == list(results.values())
        for subscription in self.full:
            assert subscription.stats().published == 1 + len(results)
            assert subscription.stats().waiting_putters == 0


class PublishingMany(Publishing):
    async def call(self, who: str) -> Any:
        await self.topic.publish_many([who])
        return who


class Joining(Scene):
    async def prepare(self) -> None:
        self.queue = self.bus.queue("q")
        await self.queue.put("work")
        self.consumer = self.queue.consume()
        await self.consumer.__aenter__()
        self.delivery = await anext(aiter(self.consumer))

    async def call(self, who: str) -> Any:
        await self.queue.join()
        return who

    def wake(self) -> None:
        self.waked += 1
        self.delivery.ack()


class JoiningAll(Joining):
    async def call(self, who: str) -> Any:
        await self.bus.join()
        return who


class UntilEmpty(Joining):
    """A consumer that waits because another may yet give back what it has."""

    async def call(self, who: str) -> Any:
        async with self.queue.consume(until_empty=True) as consumer:
            async for _ in consumer:
                raise AssertionError("there is nothing to take")
        return who


class Following(Scene):
    async def prepare(self) -> None:
        self.topic = self.bus.topic("t", retain=Retention(count=10))

    async def call(self, who: str) -> Any:
        async with aclosing(self.topic.replay(follow=True)) as replay:
            return (await anext(replay)).body

    def wake(self) -> None:
        self.waked += 1
        self.topic.publish_nowait(self.waked)

    def judge(self, results: dict[str, Any]) -> None:
        assert set(results.values()) <= {1}


SCENES = [
    Getting,
    GettingByPriority,
    GettingByKey,
    GettingMany,
    Gathering,
    Consuming,
    ConsumingAhead,
    ConsumingInFront,
    ConsumingKeyed,
    Putting,
    PuttingMany,
    Publishing,
    PublishingMany,
    Joining,
    JoiningAll,
    UntilEmpty,
    Following,
]
SETTLED = 25  # turns after which nothing moves any more
WAKE = 12  # the turn in which what they wait for comes; by then both wait


@pytest.mark.parametrize("how", ["scope", "deadline", "task.cancel"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_a_cancelled_call_did_all_or_nothing_and_passes_its_wake_on(
    scene: type[Scene], how: str, anyio_backend_name: str
) -> None:
    if how == "task.cancel" and anyio_backend_name != "asyncio":
        pytest.skip("trio has no such thing")
    for moment in (*range(8), *range(WAKE - 1, WAKE + 6)):
        async with Bus() as bus, anyio.create_task_group() as group:
            await run_scene(scene(bus), group, how, moment)


async def run_scene(scene: Scene, group: anyio.abc.TaskGroup, how: str, moment: int) -> None:
    await scene.prepare()
    first, second = Call(lambda: scene.call("first caller")), Call(lambda: scene.call("second caller"))
    first.start(group, how)
    await anyio.lowlevel.checkpoint()
    second.start(group, "scope")
    for turn in range(SETTLED):
        if turn == WAKE:
            scene.wake()
        if turn == moment:
            first.cancel(how)
            scene.bus._engine.check()
        await anyio.lowlevel.checkpoint()
    await turns(SETTLED)
    intact(scene.bus)
    assert first.ended
    if first.result is not NOTHING and not second.ended:
        scene.wake()  # the first got it, so the second waits for the next
        await turns(SETTLED)
    assert second.ended, f"cancelled in turn {moment}, the first took its wake along"
    assert second.result is not NOTHING
    intact(scene.bus)
    scene.judge({call.result: call.result for call in (first, second) if call.result is not NOTHING})


async def test_what_a_cancelled_task_holds_goes_to_the_next_consumer() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        await queue.put_many([1, 2, 3])
        with anyio.CancelScope() as scope:
            async with queue.consume(prefetch=3) as consumer:
                async for delivery in consumer:
                    assert delivery.body == 1
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
        intact(bus)
        again = await queue.get_many(3)
        assert [(d.body, d.redelivered, d.attempt) for d in again] == [(1, True, 2), (2, False, 1), (3, False, 1)]
        again.ack()


async def test_a_deadline_in_the_past_takes_nothing() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        with anyio.move_on_after(0) as scope:
            await queue.get()
        assert scope.cancelled_caught
        await queue.put("kept")
        assert queue.stats().ready == 1
        intact(bus)
