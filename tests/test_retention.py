"""Topics that forget by age, and topics that keep the last message of each key."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from eventbus import EARLIEST, Bus, DeclarationError, Isolation, Retention, blocking
from tests.kit import ManualClock, turns
from tests.kit.faces import Async, Blocking, run_through
from tests.scenarios.conservation import intact

DAY = 86_400.0

Scenario = Callable[[Any], Awaitable[None]]
SCENARIOS: list[Scenario] = []


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


async def read(replay: Any) -> list[Any]:
    return [message.body async for message in replay]


def bodies(queue: Any) -> list[Any]:
    return [message.body for message in queue.peek(1000)]


@scenario
async def what_is_too_old_is_forgotten_when_it_is(face: Any) -> None:
    clock = ManualClock()
    async with face.bus(clock=clock) as bus:
        topic = bus.topic("t", retain=Retention(age=10))
        for number in range(4):
            await topic.publish(number)
            clock.advance(3)
        assert await read(topic.replay()) == [1, 2, 3]
        assert bus.stats().topics["t"].retained == 3
        late = topic.subscription("late", start=EARLIEST)
        assert bodies(late) == [1, 2, 3]
        clock.advance(4)
        assert await read(topic.replay()) == [3]
        await late.seek(datetime.fromtimestamp(clock.time() - 100, UTC))
        assert bodies(late) == [3]
        clock.advance(100)
        assert await read(topic.replay()) == []
        assert bodies(late) == [3], "a subscription has what it has"
        intact(bus)


@scenario
async def the_last_message_of_each_key_stays(face: Any) -> None:
    async with face.bus() as bus:
        topic = bus.topic("t", retain=Retention(compact=True))
        for key, body in (("a", 1), ("b", 2), (None, 3), ("a", 4), (b"b", 5), (None, 6)):
            await topic.publish(body, key=key)
        assert await read(topic.replay()) == [3, 4, 5, 6], "str and bytes are one key, and none is none"
        assert await read(topic.replay(5)) == [5, 6]
        assert await read(topic.replay(2, 5)) == [3, 4], "an offset that is no more is a place all the same"
        assert await read(topic.replay(key="a")) == [4]
        assert bodies(topic.subscription("s", start=EARLIEST)) == [3, 4, 5, 6]


@scenario
async def a_tombstone_takes_the_place_of_its_key_and_goes_a_day_later(face: Any) -> None:
    clock = ManualClock()
    async with face.bus(clock=clock) as bus:
        topic = bus.topic("t", retain=Retention(compact=True))
        await topic.publish("value", key="a")
        await topic.publish("other", key="b")
        await topic.publish(None, key="a")
        await topic.publish(None)  # no key: a message like any other
        assert await read(topic.replay()) == ["other", None, None]
        clock.advance(DAY - 1)
        await topic.publish(None, key="b")
        await topic.publish("back", key="b")  # a key may come to life again
        clock.advance(1)
        assert await read(topic.replay()) == [None, "back"]
        clock.advance(2 * DAY)
        assert await read(topic.replay()) == [None, "back"]
        intact(bus)


@scenario
async def all_limits_hold_together(face: Any) -> None:
    clock = ManualClock()
    async with face.bus(clock=clock) as bus:
        topic = bus.topic("t", retain=Retention(2, age=10, compact=True))
        for key in "abca":
            await topic.publish(key, key=key)
        assert await read(topic.replay()) == ["c", "a"]
        clock.advance(9)
        await topic.publish("d", key="d")
        assert await read(topic.replay()) == ["a", "d"]
        clock.advance(1)
        assert await read(topic.replay()) == ["d"]


@scenario
async def without_a_limit_all_is_kept(face: Any) -> None:
    async with face.bus() as bus:
        topic = bus.topic("t", retain=Retention())
        await topic.publish_many(range(1000))
        assert len(await read(topic.replay())) == 1000


@scenario
async def a_limit_by_size_needs_a_journal(face: Any) -> None:
    async with face.bus() as bus:
        with pytest.raises(DeclarationError, match="only on a bus that has a journal"):
            bus.topic("t", retain=Retention(size=1000))
        assert "t" not in bus.stats().topics


@scenario
async def copies_are_compacted_too(face: Any) -> None:
    async with face.bus(isolation=Isolation.COPY) as bus:
        topic = bus.topic("t", retain=Retention(compact=True))
        body = [1]
        await topic.publish(body, key="a")
        body.append(2)
        await topic.publish(body, key="a")
        await topic.publish(None, key="b")
        assert await read(topic.replay()) == [[1, 2], None]


each = pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)


@each
@pytest.mark.anyio
async def test_async(play: Scenario) -> None:
    with anyio.fail_after(30):
        await play(Async())


@each
def test_blocking(play: Any) -> None:
    run_through(play(Blocking()))


@pytest.mark.anyio
async def test_who_follows_sees_tombstones_and_waits_while_all_is_forgotten() -> None:
    clock = ManualClock()
    async with Bus(clock=clock) as bus:
        topic = bus.topic("t", retain=Retention(age=5, compact=True))
        seen: list[Any] = []

        async def follow() -> None:
            async for message in topic.replay(follow=True):
                seen.append(message.body)

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            for body in (1, None, 2):
                await topic.publish(body, key="k")
                await turns()
                clock.advance(10)
                await turns()
            assert seen == [1, None, 2]
            group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_replay_that_is_slower_than_what_it_reads_grows_old_says_so(caplog: Any) -> None:
    clock = ManualClock()
    async with Bus(clock=clock) as bus:
        topic = bus.topic("t", retain=Retention(age=5))
        await topic.publish_many(range(600))
        with caplog.at_level(logging.WARNING, "eventbus"):
            replay = topic.replay()
            first = await anext(replay)
            clock.advance(5)
            assert len(await read(replay)) == 255, "what is left of the page that it had"
        assert first.body == 0
        assert "messages from offset 257 to 600 are no longer retained" in caplog.text


def test_bodies_that_grow_too_old_are_let_go() -> None:
    class Body:
        pass

    clock = ManualClock()
    with blocking.Bus(clock=clock) as bus:
        topic = bus.topic("t", retain=Retention(age=1))
        body = Body()
        gone = weakref.ref(body)
        topic.publish(body)
        del body
        gc.collect()
        assert gone() is not None
        clock.advance(1)
        gc.collect()
        assert gone() is None
