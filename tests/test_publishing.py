"""Sending: as slices where it can be, one by one where not, waiting for room in the order of arrival."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from eventbus import Bus, FullError, Isolation, Keyed, Overflow, Policy, Priority, Retention
from eventbus.publishing import SLICE, STRIDE, weight
from tests.kit import turns

pytestmark = pytest.mark.anyio


def test_a_message_of_a_batch_weighs_an_eighth() -> None:
    assert weight(0) == 1
    assert weight(8 * STRIDE) > STRIDE
    assert weight(SLICE) < STRIDE


@pytest.mark.parametrize("isolation", Isolation)
@pytest.mark.parametrize(
    "policies",
    [
        [Policy()],
        [Policy(), Policy(Priority())],
        [Policy(), Policy(Keyed(3))],
        [Policy(capacity=3, overflow=Overflow.DROP_OLDEST), Policy()],
        [Policy(capacity=3, overflow=Overflow.DROP_NEWEST), Policy()],
    ],
)
async def test_many_arrive_as_if_one_by_one(policies: list[Policy], isolation: Isolation) -> None:
    outcomes = []
    for together in (True, False):
        bus = Bus(isolation=isolation)
        topic = bus.topic("t", retain=Retention(4))
        subscriptions = [topic.subscription(f"s{index}", policy) for index, policy in enumerate(policies)]
        if together:
            offsets = await topic.publish_many(range(300), key=str, priority=1)
        else:
            offsets = [await topic.publish(body, key=str(body), priority=1) for body in range(300)]
        stats = bus.stats()
        outcomes.append(
            (
                offsets,
                [[(m.offset, m.body, m.key) for m in s.peek(999)] for s in subscriptions],
                [(s.published, s.dropped, s.peak) for s in stats.queues.values()],
                [m.body async for m in topic.replay()],
                stats.topics,
            )
        )
        bus._engine.check()
    assert outcomes[0] == outcomes[1]


async def test_many_do_not_overtake_those_who_wait() -> None:
    queue = Bus().queue("q", Policy(capacity=2))
    await queue.put_many([0, 1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.put, 2)
        await turns()
        tasks.start_soon(queue.put_many, [3, 4])
        await turns()
        for expected in range(5):
            delivery = await queue.get()
            delivery.ack()
            assert delivery.body == expected
            await turns()


async def test_a_cancelled_put_many_leaves_what_entered() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.put_many, range(5))
        await turns()
        tasks.cancel_scope.cancel()
    assert [m.body for m in queue.peek(9)] == [0, 1]
    assert queue.stats().waiting_putters == 0
    await queue.get_many(2)
    assert queue.put_nowait("next") == 3
    bus._engine.check()


async def test_a_putter_that_gives_up_passes_its_room_on() -> None:
    queue = Bus().queue("q", Policy(capacity=1))
    await queue.put(0)
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def first() -> None:
            with scope:
                await queue.put(1)

        tasks.start_soon(first)
        await turns()
        tasks.start_soon(queue.put, 2)
        await turns()
        (await queue.get()).ack()
        scope.cancel()
        await turns()
        assert queue.stats().ready == 1, "the room is not lost, whether the first gave up or was faster"
        (await queue.get()).ack()
    assert queue.stats().waiting_putters == 0


async def test_put_nowait_names_the_queue_that_is_full() -> None:
    bus = Bus()
    topic = bus.topic("t")
    topic.subscription("wide")
    topic.subscription("narrow", Policy(capacity=1))
    topic.publish_nowait(1)
    with pytest.raises(FullError) as caught:
        topic.publish_nowait(2)
    assert (caught.value.queue, caught.value.capacity) == ("t/narrow", 1)


async def test_put_nowait_does_not_overtake_those_who_wait() -> None:
    queue = Bus().queue("q", Policy(capacity=1))
    await queue.put(0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.put, 1)
        await turns()
        (await queue.get()).ack()
        with pytest.raises(FullError):  # the room is promised to the one who waits
            queue.put_nowait(2)
    assert [m.body for m in queue.peek(9)] == [1]


async def test_errands_of_a_send_are_done_when_it_returns() -> None:
    """What is let go, told or woken does not wait for the next call."""

    class Body:
        def __init__(self, gone: list[int]) -> None:
            self.gone = gone

        def __del__(self) -> None:
            self.gone.append(1)

    gone: list[int] = []
    queue = Bus().queue("q", Policy(capacity=1, overflow=Overflow.DROP_OLDEST))
    bodies: list[Any] = [Body(gone), Body(gone), Body(gone)]
    while bodies:
        await queue.put(bodies.pop())
    assert sum(gone) == 2


async def test_a_put_the_long_way_wakes_who_waits() -> None:
    queue = Bus().queue("q")
    await queue.put_many([0, 1])
    await queue.get_many(2)
    got = []

    async def receive() -> None:
        got.append((await queue.get()).body)

    await queue.put("grants credit")
    await queue.get()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        queue.put_nowait("b", headers={"long": "way"})
    assert got == ["b"]


async def test_a_publisher_whose_routes_changed_passes_its_wake_on() -> None:
    bus = Bus()
    topic, one, two = bus.topic("t"), bus.queue("one", Policy(capacity=1)), bus.queue("two", Policy(capacity=1))
    one.bind("t")
    await one.put("first")
    await two.put("first")
    entered = []

    async def put() -> None:
        await one.put("direct")
        entered.append("direct")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(topic.publish, "through the topic")
        await turns()
        tasks.start_soon(put)
        await turns()
        two.bind("t")
        (await one.get()).ack()
        await turns()
        bus._engine.check()
        assert [m.body for m in one.peek(9)] in (["direct"], [])
        (await two.get()).ack()
        await turns()
        while one.stats().waiting_putters or one.stats().ready:
            (await one.get()).ack()
            await turns()
    assert entered
    assert [m.body for m in two.peek(9)] == ["through the topic"]
    bus._engine.check()
