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
import trio
from trio.testing import MockClock

from eventbus import Bus, Fifo, Keyed, Policy, Priority, Retention
from tests.kit import turns
from tests.scenarios.conservation import intact

pytestmark = pytest.mark.anyio

NOTHING = object()


class Call:
    """A call in a task of its own, that can be cancelled in four ways."""

    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self.function = function
        self.scope = anyio.CancelScope()
        self.task: asyncio.Task[Any] | None = None
        self.timeout: asyncio.Timeout | None = None
        self.result: Any = NOTHING
        self.ended = False

    async def run(self) -> None:
        try:
            if self.timeout is not None:
                async with self.timeout:
                    self.result = await self.function()
            elif self.task is not None:
                self.result = await self.function()
            else:
                with self.scope:
                    self.result = await self.function()
        except TimeoutError:
            assert self.timeout is not None
        except asyncio.CancelledError:
            if self.task is None:
                raise
        finally:
            self.ended = True

    def start(self, group: anyio.abc.TaskGroup, how: str) -> None:
        if how == "task.cancel":
            self.task = asyncio.create_task(self.run())
        elif how == "asyncio.timeout":
            self.timeout = asyncio.timeout(None)
            group.start_soon(self.run)
        else:
            group.start_soon(self.run)

    def cancel(self, how: str) -> None:
        if self.task is not None:
            self.task.cancel()
        elif self.timeout is not None and not self.ended:
            self.timeout.reschedule(asyncio.get_running_loop().time())
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
        batch = await self.queue.get_many(3)
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


class ConsumingInFront(Consuming):
    options: ClassVar[dict[str, Any]] = {"priority": 5}


ORDERS = {
    "fifo": Fifo(),
    "priority": Priority(),
    "keys": Keyed(),
    "partitions": Keyed(partitions=3),
    "sticky": Keyed(partitions=3, sticky=True),
}


def consuming(name: str, prefetch: int) -> type[Scene]:
    return type(f"Consuming-{name}-{prefetch}", (Consuming,), {"policy": Policy(ORDERS[name]), "prefetch": prefetch})


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
    *(consuming(name, prefetch) for name in ORDERS for prefetch in (1, 64)),
    ConsumingInFront,
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


WAYS = [
    ("asyncio", "scope"),
    ("asyncio", "deadline"),
    ("asyncio", "task.cancel"),
    ("asyncio", "asyncio.timeout"),
    ("trio", "scope"),
    ("trio", "deadline"),
]


@pytest.mark.parametrize(("anyio_backend", "how"), WAYS)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_a_cancelled_call_did_all_or_nothing_and_passes_its_wake_on(
    scene: type[Scene], how: str, anyio_backend: str
) -> None:
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


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_a_call_whose_time_is_up_before_it_begins_did_all_or_nothing(scene: type[Scene]) -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        stage = scene(bus)
        await stage.prepare()
        with anyio.move_on_after(0) as scope:
            await stage.call("first caller")
        assert scope.cancelled_caught
        intact(bus)
        second = Call(lambda: stage.call("second caller"))
        second.start(group, "scope")
        await turns(SETTLED)
        assert not second.ended
        stage.wake()
        await turns(SETTLED)
        assert second.result is not NOTHING
        intact(bus)
        stage.judge({second.result: second.result})


@pytest.mark.parametrize("early", [0, 1], ids=["wake-first", "deadline-first"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_deadline_in_the_very_moment_of_the_wake_loses_nothing(scene: type[Scene], early: int) -> None:
    """By trio's clock, which jumps: deadline and wake fall on one instant, which comes in any order of the tasks."""

    async def play() -> None:
        async with Bus() as bus, trio.open_nursery() as nursery:
            stage = scene(bus)
            await stage.prepare()
            results: dict[str, Any] = {}

            async def call(who: str, deadline: float) -> None:
                with trio.move_on_at(trio.current_time() + deadline):
                    results[who] = await stage.call(who)

            async def wake() -> None:
                await trio.sleep(2.0)
                stage.wake()

            if not early:
                nursery.start_soon(wake)
            nursery.start_soon(call, "first caller", 2.0)
            await trio.sleep(1.0)
            nursery.start_soon(call, "second caller", 1_000.0)
            if early:
                await trio.sleep(1.0)
                stage.wake()
            await trio.sleep(5.0)
            intact(bus)
            if "first caller" in results and "second caller" not in results:
                stage.wake()
                await trio.sleep(5.0)
            assert "second caller" in results
            intact(bus)
            stage.judge({result: result for result in results.values()})

    trio.run(play, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("woken", [False, True], ids=["asleep", "woken"])
@pytest.mark.parametrize("room", range(4))
@pytest.mark.parametrize(("anyio_backend", "how"), WAYS)
async def test_a_cancelled_put_many_keeps_what_entered_and_no_more(
    room: int, woken: bool, anyio_backend: str, how: str
) -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queue = bus.queue("q", Policy(capacity=3))
        await queue.put_many(["a", "b", "c"])
        first, second = Call(lambda: queue.put_many([1, 2, 3, 4, 5])), Call(lambda: queue.put("behind"))
        first.start(group, how)
        await turns()
        for _ in range(room):
            queue.get_nowait().ack()
            await turns()
        second.start(group, how)
        await turns()
        assert not second.ended
        if woken:
            queue.get_nowait().ack()
        first.cancel(how)
        await turns()
        if not second.ended:  # the first took that room before it ended
            queue.get_nowait().ack()
            await turns()
        intact(bus)
        assert first.ended
        assert second.ended
        bodies = [message.body for message in queue.peek(10)]
        entered = queue.stats().published - 4
        assert room <= entered <= room + woken
        assert bodies == ["a", "b", "c", *range(1, entered + 1), "behind"][-3:]
        assert queue.stats().waiting_putters == 0


async def test_a_cancelled_publisher_that_held_a_place_in_one_queue_gives_it_to_the_next() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        topic = bus.topic("t")
        one, other = (topic.subscription(name, Policy(capacity=1)) for name in "ab")
        await topic.publish("full")
        first, second = Call(lambda: topic.publish("to both")), Call(lambda: one.put("to one"))
        first.start(group, "scope")
        await turns()
        second.start(group, "scope")
        await turns()
        one.get_nowait().ack()
        await turns()
        assert not first.ended, "the other is full"
        assert not second.ended, "the room is the publisher's, who came first"
        first.cancel("scope")
        await turns()
        assert second.ended
        intact(bus)
        assert [message.body for message in one.peek(5)] == ["to one"]
        assert [message.body for message in other.peek(5)] == ["full"]


@pytest.mark.parametrize(("anyio_backend", "how"), WAYS)
async def test_many_waiters_cancelled_at_once_leave_what_came_to_those_who_stay(anyio_backend: str, how: str) -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queue = bus.queue("q")
        calls = [Call(queue.get) for _ in range(20)]
        for call in calls:
            call.start(group, how)
        await turns()
        await queue.put_many(range(10))  # wakes the first ten
        for call in calls[::2]:
            call.cancel(how)
        await turns(SETTLED)
        intact(bus)
        assert sorted(call.result.body for call in calls if call.result is not NOTHING) == list(range(10))
        assert all(call.ended for call in calls[::2])
        await queue.put_many(range(10, 20))
        await turns(SETTLED)
        assert all(call.result is not NOTHING for call in calls[1::2])
        intact(bus)


async def test_a_consumer_cancelled_while_it_waits_goes_on_with_nothing_lost_between() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        seen: list[int] = []
        async with queue.consume(4) as consumer, anyio.create_task_group() as group:
            for number in range(20):
                call = Call(lambda: anext(aiter(consumer)))
                call.start(group, "scope")
                await turns()
                await queue.put(number)
                if number % 2:
                    call.cancel("scope")
                await turns()
                intact(bus)
                if call.result is not NOTHING:
                    seen.append(call.result.body)
                    call.result.ack()
            with anyio.move_on_after(0):
                async for delivery in consumer:
                    seen.append(delivery.body)
                    delivery.ack()
        assert seen == list(range(20))
        assert queue.stats().acked == 20


async def test_cancelling_everything_at_once_leaves_a_bus_that_works() -> None:
    async with Bus() as bus:
        async with anyio.create_task_group() as group:
            for number, scene in enumerate(SCENES):
                if not issubclass(scene, Getting):
                    continue
                stage = scene(bus)
                stage.queue = bus.queue(f"q{number}", stage.policy)
                for who in "xy":
                    group.start_soon(stage.call, who)
            await turns()
            group.cancel_scope.cancel()
        intact(bus)
        for queue in bus.stats().queues:
            await bus.queue(queue).put("later")
            async with bus.queue(queue).consume() as consumer:
                delivery = await anext(aiter(consumer))
                assert delivery.body == "later"
                delivery.ack()
        intact(bus)
