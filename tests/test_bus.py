"""The bus: declaring, isolation, watching, joining and ending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from eventbus import (
    EARLIEST,
    Backoff,
    Bus,
    BusStats,
    ClosedError,
    Death,
    DeclarationError,
    Delivery,
    Fifo,
    FullError,
    Isolation,
    Keyed,
    Message,
    Observer,
    Overflow,
    Policy,
    Priority,
    Queue,
    Retention,
    Retry,
    Subscription,
)
from eventbus.policy import murmur2
from tests.kit import ManualClock, turns

pytestmark = pytest.mark.anyio


def rest(queue: Queue[Any]) -> list[Any]:
    return [message.body for message in queue.peek(1 << 20)]


# declaring


async def test_declaring_again_gives_the_same_handle() -> None:
    bus = Bus()
    policy = Policy(Priority(), capacity=3)
    queue = bus.queue("q", policy)
    assert bus.queue("q") is bus.queue("q", policy) is bus.queue("q", Policy(Priority(), 3)) is queue
    topic = bus.topic("t")
    assert bus.topic("t", retain=Retention(2)) is bus.topic("t", retain=Retention(2)) is bus.topic("t") is topic
    subscription = bus.subscription("s", ["a", "b.*"])
    assert bus.subscription("s", ["b.*", "a"]) is bus.subscription("s", ("a", "b.*"), Policy()) is subscription


async def test_queues_and_topics_have_names_of_their_own() -> None:
    bus = Bus()
    queue, topic = bus.queue("same"), bus.topic("same")
    await topic.publish(1)
    assert rest(queue) == []


async def test_a_type_may_be_told_late() -> None:
    bus = Bus()
    queue, topic = bus.queue("q"), bus.topic("t")
    assert bus.queue("q", type=int) is bus.queue("q", type=int) is queue
    assert bus.topic("t", type=int) is topic


async def test_a_subscriptions_policy_is_as_a_queues() -> None:
    bus = Bus()
    topic = bus.topic("t")
    subscription = topic.subscription("s", Policy(Keyed()))
    assert topic.subscription("s") is topic.subscription("s", Policy(Keyed())) is subscription
    with pytest.raises(DeclarationError, match="'t/s' is declared with"):
        topic.subscription("s", Policy())


async def test_dead_letters_are_a_queue_that_drops_its_oldest() -> None:
    bus = Bus()
    assert bus.dead_letters is bus.queue("dead-letters")
    assert bus.dead_letters.policy == Policy(overflow=Overflow.DROP_OLDEST)


async def test_dead_letters_may_be_declared_otherwise_first() -> None:
    bus = Bus()
    letters = bus.queue("dead-letters", Policy(Keyed(), capacity=None))
    assert bus.dead_letters is letters


async def test_its_repr_counts() -> None:
    bus = Bus()
    bus.queue("q"), bus.topic("t"), bus.topic("u")
    assert repr(bus) == "<Bus with 1 queues and 2 topics>"


# dead letters


async def test_a_dead_letter_that_dies_again_gains_a_death() -> None:
    clock = ManualClock(10.0)
    bus = Bus(clock=clock)
    bus.queue("q", Policy(dead_letter="grave")).put_nowait("b", id="i")
    bus.queue("grave", Policy(dead_letter=None))
    clock.advance(1)
    bus.queue("q").get_nowait().reject("first")
    clock.advance(1)
    letter = bus.queue("grave").get_nowait()
    assert (letter.message.time, letter.message.id) == (11.0, "i")
    letter.reject("second")
    assert letter.message.deaths == (Death("q", "rejected", 1, 1, "first", 10.0, 11.0),)
    assert bus.queue("grave").stats().dead == 1
    assert set(bus.stats().queues) == {"q", "grave"}


async def test_a_death_tells_how_often_it_was_delivered() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=2, overflow=Overflow.DROP_OLDEST, dead_letter="grave"))
    await queue.put("rejected")
    (await queue.get()).nack(delay=0)
    (await queue.get()).reject()
    await queue.put("dropped")
    (await queue.get()).release()
    await queue.put_many([1, 2])
    assert [(m.body, m.deaths[0].reason, m.deaths[0].attempts) for m in bus.queue("grave").peek(9)] == [
        ("rejected", "rejected", 2),
        ("dropped", "overflow", 1),
    ]


async def test_a_queue_may_be_its_own_dead_letter() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(dead_letter="q"))
    await queue.put_many([1, 2])
    (await queue.get()).reject()
    assert rest(queue) == [2, 1]
    stats = queue.stats()
    assert (stats.published, stats.dead, stats.ready) == (3, 1, 2)
    bus._engine.check()


@pytest.mark.parametrize("overflow", Overflow)
async def test_entering_a_dead_letter_queue_never_waits(overflow: Overflow, caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(dead_letter="grave"))
    grave = bus.queue("grave", Policy(capacity=2, overflow=overflow))
    await queue.put_many(range(4))
    for delivery in await queue.get_many(4):
        delivery.reject()
    bus._engine.check()
    drops = {Overflow.DROP_OLDEST: [2, 3], Overflow.DROP_NEWEST: [0, 1]}
    assert rest(grave) == drops.get(overflow, [0, 1, 2, 3])
    assert grave.stats().dropped == (2 if overflow in drops else 0)
    assert [record.getMessage() for record in caplog.records] == (
        ["dead-letter queue 'grave' is full (2 messages) and drops from now on"] if overflow in drops else []
    ), "logged once"


async def test_a_dead_letter_wakes_who_waits_for_it() -> None:
    bus = Bus()
    got = []

    async def receive() -> None:
        got.append((await bus.dead_letters.get()).body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        bus.queue("q").put_nowait("b")
        bus.queue("q").get_nowait().reject()
    assert got == ["b"]


async def test_dead_letters_may_be_keyed() -> None:
    bus = Bus()
    grave = bus.queue("grave", Policy(Keyed(5, partitioner=murmur2)))
    queue = bus.queue("q", Policy(dead_letter="grave"))
    await queue.put("b", key="k")
    (await queue.get()).reject()
    assert grave.get_nowait().partition == (murmur2("k") & 0x7FFFFFFF) % 5


async def test_a_dead_letter_whose_lane_cannot_be_found_is_its_own_lane(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    grave = bus.queue("grave", Policy(Keyed(5, partitioner=lambda key: 1 // 0)))
    queue = bus.queue("q", Policy(dead_letter="grave"))
    await queue.put("b", key="k")
    (await queue.get()).reject()
    assert grave.get_nowait().partition is None
    [record] = caplog.records
    assert record.getMessage() == "the partitioner of queue 'grave' failed for a dead letter"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


async def test_a_dead_letter_that_finds_the_bus_closed_is_let_go() -> None:
    """The partitioner is the user's code, outside the lock: the bus may end meanwhile."""
    bus = Bus()

    def place(key: bytes) -> int:
        with pytest.raises(StopIteration):
            bus.aclose().send(None)
        return 0

    bus.queue("grave", Policy(Keyed(5, partitioner=place)))
    queue = bus.queue("q", Policy(dead_letter="grave"))
    await queue.put("b", key="k")
    (await queue.get()).reject()
    with pytest.raises(ClosedError):
        bus.stats()
    bus._engine.check()


# isolation


async def test_bodies_are_passed_by_reference_by_default() -> None:
    bus = Bus()
    body = [1]
    await bus.queue("q").put(body)
    assert bus.queue("q").get_nowait().body is body


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed(3)])
async def test_a_copying_bus_gives_every_queue_and_the_topics_past_a_deep_copy(order: Any) -> None:
    bus = Bus(isolation=Isolation.COPY)
    topic = bus.topic("t", retain=Retention(9))
    one, two = topic.subscription("one", Policy(order)), topic.subscription("two", where="body.a.exists()")
    body = {"a": [1]}
    await topic.publish(body)
    topic.publish_nowait(body)
    await topic.publish_many([body])
    late = topic.subscription("late", start=EARLIEST)
    replayed = [m.body async for m in topic.replay()] + [m.body async for m in topic.replay()]
    seen = [body, *rest(one), *rest(two), *rest(late), *replayed]
    assert seen == [{"a": [1]}] * 16
    assert len({id(each) for each in seen}) == 16
    assert len({id(each["a"]) for each in seen}) == 16, "deep"


async def test_a_copying_bus_copies_when_the_message_is_put() -> None:
    bus = Bus(isolation=Isolation.COPY)
    queue = bus.queue("q")
    body = [1]
    await queue.put(body)
    queue.put_nowait(body)
    await queue.put_many([body, body])
    body.append(2)
    bodies = (await queue.get_many(4)).bodies
    assert bodies == [[1]] * 4
    assert len({id(each) for each in bodies}) == 4


async def test_a_body_that_cannot_be_copied_is_the_publishers_error() -> None:
    class Stubborn:
        def __deepcopy__(self, memo: Any) -> Any:
            raise ValueError("mine")

    bus = Bus(isolation=Isolation.COPY)
    queue, topic = bus.queue("q"), bus.topic("t", retain=Retention(3))
    for call in (lambda: queue.put(Stubborn()), lambda: topic.publish(Stubborn())):
        with pytest.raises(ValueError, match="mine"):
            await call()
    assert bus.stats().offset == 0


# observing


class Recorder(Observer):
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def published(self, message: Message[Any], queues: Sequence[str]) -> None:
        self.events.append(("published", message.body, list(queues)))

    def delivered(self, delivery: Delivery[Any]) -> None:
        assert isinstance(delivery, Delivery)
        self.events.append(("delivered", delivery.body, delivery.queue.name))

    def settled(self, delivery: Delivery[Any], outcome: str) -> None:
        self.events.append(("settled", delivery.body, outcome))

    def dropped(self, message: Message[Any], queue: str) -> None:
        self.events.append(("dropped", message.body, queue))

    def died(self, message: Message[Any], death: Death) -> None:
        self.events.append(("died", message.body, death.queue, death.reason, death.error))

    def took(self) -> list[tuple[Any, ...]]:
        events, self.events = self.events, []
        return events


async def test_an_observer_is_told_what_is_published_and_to_whom() -> None:
    bus = Bus()
    bus.observe(recorder := Recorder())
    queue, topic = bus.queue("q"), bus.topic("t")
    topic.subscription("a"), topic.subscription("b", where="body > 2")
    await queue.put(1)
    queue.put_nowait(2)
    await queue.put_many([3, 4])
    await topic.publish(1)
    topic.publish_nowait(3)
    await topic.publish_many([2, 4])
    await bus.topic("u").publish_many([5, 6])
    assert recorder.took() == [
        *(("published", body, ["q"]) for body in (1, 2, 3, 4)),
        ("published", 1, ["t/a"]),
        ("published", 3, ["t/a", "t/b"]),
        ("published", 2, ["t/a"]),
        ("published", 4, ["t/a", "t/b"]),
        ("published", 5, []),
        ("published", 6, []),
    ]


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()])
async def test_an_observer_is_told_what_is_delivered_and_how_it_ends(order: Any) -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(order, retry=Retry(backoff=Backoff(first=0))))
    await queue.put_many(range(6))
    bus.observe(recorder := Recorder())
    for call in ("ack", "nack", "release", "reject"):
        delivery = queue.get_nowait()
        getattr(delivery, call)()
        getattr(delivery, call)()
        if call in ("nack", "release"):
            queue.get_nowait().ack()
    events = recorder.took()
    ends = [event for event in events if event[0] == "settled"]
    assert [outcome for _, _, outcome in ends] == ["ack", "nack", "ack", "release", "ack", "reject"]
    assert len([event for event in events if event[0] == "delivered"]) == 6
    assert [event for event in events if event[0] == "died"] == [("died", ends[-1][1], "q", "rejected", None)]
    batch = await queue.get_many(2)
    batch.ack()
    assert [event[0] for event in recorder.took()] == ["delivered", "delivered", "settled", "settled"]


async def test_an_observer_is_told_of_what_a_closed_consumer_gives_back() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put_many([1, 2, 3])
    async with queue.consume(10) as consumer:
        bus.observe(recorder := Recorder())
        await anext(consumer)
    assert recorder.took() == [("delivered", 1, "q"), ("settled", 1, "release")]


async def test_an_observer_that_comes_later_is_told_of_what_was_reserved_before() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put_many([1, 2, 3])
    async with queue.consume(10) as consumer:
        await anext(consumer)
        stop = bus.observe(recorder := Recorder())
        await anext(consumer)
        assert recorder.took() == [("delivered", 2, "q")]
        stop()
        assert (await anext(consumer)).body == 3
        assert recorder.took() == []


async def test_an_observer_is_told_what_is_dropped_and_what_died_of_it() -> None:
    bus = Bus()
    bus.observe(recorder := Recorder())
    queue = bus.queue("q", Policy(capacity=1, overflow=Overflow.DROP_OLDEST, dead_letter="grave"))
    await queue.put_many([1, 2])
    events = recorder.took()
    assert ("dropped", 1, "q") in events
    assert ("died", 1, "q", "overflow", None) in events


async def test_an_observer_that_raises_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        def published(self, message: Message[Any], queues: Sequence[str]) -> None:
            raise ValueError("mine")

    bus = Bus()
    bus.observe(broken := Broken())
    bus.observe(recorder := Recorder())
    assert await bus.queue("q").put(1) == 1
    assert recorder.took() == [("published", 1, ["q"])]
    [record] = caplog.records
    assert record.getMessage() == f"observer {broken!r} failed in published"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


async def test_an_observer_that_overrides_nothing_may_watch_everything() -> None:
    bus = Bus()
    bus.observe(Observer())
    queue = bus.queue("q", Policy(capacity=1, overflow=Overflow.DROP_NEWEST))
    await queue.put_many([1, 2])
    (await queue.get()).reject()


async def test_who_stopped_observing_is_told_nothing_more() -> None:
    bus = Bus()
    one, two = Recorder(), Recorder()
    stop = bus.observe(one)
    bus.observe(two)
    stop()
    stop()
    await bus.queue("q").put(1)
    assert (one.events, two.events) == ([], [("published", 1, ["q"])])


async def test_the_same_observer_may_watch_twice_and_end_each_watch() -> None:
    bus = Bus()
    recorder = Recorder()
    stop = bus.observe(recorder)
    bus.observe(recorder)
    await bus.queue("q").put(1)
    assert len(recorder.took()) == 2
    stop()
    await bus.queue("q").put(1)
    assert len(recorder.took()) == 1


# stats


async def test_stats_are_a_frozen_snapshot_of_all() -> None:
    bus = Bus(clock=ManualClock())
    queue = bus.queue("q")
    bus.topic("t").subscription("s")
    await bus.topic("t").publish(1)
    stats = bus.stats()
    assert isinstance(stats, BusStats)
    assert set(stats.queues) == {"q", "t/s"}
    assert stats.queues["t/s"] == bus.topic("t").subscription("s").stats()
    assert stats.offset == 1
    await queue.put(1)
    assert stats.queues["q"].published == 0
    for mapping in (stats.queues, stats.topics):
        with pytest.raises(TypeError):
            mapping["q"] = None  # type: ignore[index]
    with pytest.raises(AttributeError):
        stats.offset = 5  # type: ignore[misc]


async def test_one_offset_grows_over_the_whole_bus() -> None:
    bus = Bus()
    topic = bus.topic("t")
    subscription = topic.subscription("s")
    assert [await bus.queue("a").put(1), await topic.publish(2), await bus.queue("b").put(3)] == [1, 2, 3]
    assert [m.offset for m in subscription.peek(9)] == [2]


# joining


async def serve(queue: Queue[Any], work: Any = None) -> None:
    async with queue.consume() as consumer:
        async for delivery in consumer:
            with delivery:
                await turns(3)
                if work is not None:
                    await work(delivery.body)


async def test_join_of_a_bus_at_rest_returns_at_once() -> None:
    bus = Bus()
    await bus.join()
    await bus.queue("idle").put(1)
    await bus.join()
    async with bus.queue("served").consume():
        await bus.join()


async def test_join_waits_for_every_queue_that_has_a_consumer_cascades_included() -> None:
    bus = Bus()
    first, second, third = (bus.queue(name) for name in ("a", "b", "c"))
    await bus.queue("idle").put("stays")

    async def on(body: Any) -> None:
        await third.put(body)

    async def on_second(body: Any) -> None:
        await first.put(body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, second, on_second)
        tasks.start_soon(serve, first, on)
        tasks.start_soon(serve, third)
        await turns()
        await second.put_many(range(5))
        await bus.join()
        stats = bus.stats().queues
        assert [stats[name].acked for name in "abc"] == [5, 5, 5]
        assert stats["idle"].ready == 1
        tasks.cancel_scope.cancel()


async def test_join_does_not_wait_for_dead_letters() -> None:
    bus = Bus()
    bus.queue("q", Policy(dead_letter="grave"))
    async with bus.queue("grave").consume(), bus.dead_letters.consume():
        await bus.queue("grave").put(1)
        await bus.dead_letters.put(1)
        await bus.join()


async def test_join_ends_when_the_last_consumer_leaves() -> None:
    bus = Bus()
    queue = bus.queue("q")
    joined = []

    async def join() -> None:
        await bus.join()
        joined.append(True)

    async with anyio.create_task_group() as tasks, queue.consume():
        await queue.put(1)
        tasks.start_soon(join)
        await turns()
        assert not joined
    assert joined


async def test_join_ends_when_the_subscription_does() -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription()
    async with anyio.create_task_group() as tasks, subscription.consume():
        await bus.topic("t").publish(1)
        tasks.start_soon(bus.join)
        await turns()
        await subscription.unsubscribe()


async def test_a_cancelled_join_is_forgotten() -> None:
    bus = Bus()
    async with bus.queue("q").consume() as consumer:
        await bus.queue("q").put(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bus.join)
            await turns()
            tasks.cancel_scope.cancel()
        (await anext(consumer)).ack()
        await bus.join()


# ending


async def test_leaving_the_block_closes_the_bus() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        await queue.put(1)
    with pytest.raises(ClosedError):
        await queue.get()


async def test_the_bodys_exception_leaves_unwrapped() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with Bus() as bus:
            raise ValueError("mine")
    with pytest.raises(ClosedError):
        bus.stats()


async def test_closing_twice_is_harmless() -> None:
    bus = Bus()
    await bus.aclose()
    await bus.aclose()
    with pytest.raises(ClosedError):
        async with bus:
            pass


async def test_ending_what_ended_with_the_bus_is_harmless() -> None:
    bus = Bus()
    stop = bus.observe(Observer())
    subscription = bus.topic("t").subscription()
    async with subscription, subscription.consume():
        await bus.aclose()
    stop()


async def test_whoever_waits_gets_closed() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=1))
    topic = bus.topic("t")
    topic.subscription("s", Policy(capacity=1))
    await bus.queue("q").put(1)
    await topic.publish(1)
    ended = []

    async def wait(name: str, call: Any) -> None:
        with pytest.raises(ClosedError, match="the bus is closed"):
            await call()
        ended.append(name)

    calls: dict[str, Any] = {
        "put": lambda: queue.put(2),
        "put_many": lambda: queue.put_many([2, 3]),
        "publish": lambda: topic.publish(2),
        "publish_many": lambda: topic.publish_many([2, 3]),
        "get": lambda: bus.queue("empty").get(),
        "get_many": lambda: bus.queue("empty").get_many(3),
        "queue.join": lambda: queue.join(),
        "join": lambda: bus.join(),
    }
    async with bus.queue("served").consume():
        await bus.queue("served").put(1)
        async with anyio.create_task_group() as tasks:
            for name, call in calls.items():
                tasks.start_soon(wait, name, call)
            await turns()
            assert not ended
            await bus.aclose()
    assert sorted(ended) == sorted(calls)
    bus._engine.check()


async def test_a_gathering_get_many_ends_with_the_bus() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put(1)
    ended = []

    async def receive() -> None:
        with pytest.raises(ClosedError):
            await queue.get_many(3, within=3600)
        ended.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        await bus.aclose()
    assert ended


async def test_after_close_every_call_raises_closed() -> None:
    bus = Bus()
    queue, topic = bus.queue("q"), bus.topic("t", retain=Retention(3))
    subscription = topic.subscription("s")
    failing = bus.queue("failing", Policy(overflow=Overflow.FAIL))
    sticky = bus.queue("sticky", Policy(Keyed(3, sticky=True)))
    consumer = sticky.consume()
    await bus.aclose()

    class Event:
        pass

    calls: dict[str, Any] = {
        "queue": lambda: bus.queue("q"),
        "new queue": lambda: bus.queue("new"),
        "topic": lambda: bus.topic("t"),
        "subscription": lambda: bus.subscription("s", "t"),
        "topic.subscription": lambda: topic.subscription("s"),
        "private": lambda: topic.subscription(),
        "dead_letters": lambda: bus.dead_letters,
        "stats": lambda: bus.stats(),
        "observe": lambda: bus.observe(Observer()),
        "replay": lambda: bus.replay("t"),
        "topic.replay": lambda: topic.replay(),
        "put_nowait": lambda: queue.put_nowait(1),
        "publish_nowait": lambda: topic.publish_nowait(1),
        "get_nowait": lambda: queue.get_nowait(),
        "consume": lambda: queue.consume(),
        "peek": lambda: queue.peek(),
        "purge": lambda: queue.purge(),
        "cancel": lambda: queue.cancel(1),
        "pause": lambda: queue.pause(),
        "resume": lambda: queue.resume(),
        "queue.stats": lambda: queue.stats(),
        "bind": lambda: queue.bind("t"),
        "unbind": lambda: queue.unbind("t"),
    }
    for name, call in calls.items():
        with pytest.raises(ClosedError, match="the bus is closed"):
            raise AssertionError((name, call()))
    waits: dict[str, Any] = {
        "publish by class": lambda: bus.publish(Event()),
        "join": lambda: bus.join(),
        "enter": lambda: bus.__aenter__(),
        "put": lambda: queue.put(1),
        "put_many": lambda: queue.put_many([1]),
        "put_many of nothing": lambda: queue.put_many([]),
        "put_many that fails": lambda: failing.put_many([]),
        "put keyed": lambda: sticky.put(1, key="k"),
        "get": lambda: queue.get(),
        "get_many": lambda: queue.get_many(3),
        "queue.join": lambda: queue.join(),
        "publish": lambda: topic.publish(1),
        "publish_many": lambda: topic.publish_many([1]),
        "publish_many of nothing": lambda: topic.publish_many([]),
        "seek": lambda: subscription.seek(0),
        "enter a consumer": lambda: consumer.__aenter__(),
    }
    for name, call in waits.items():
        with pytest.raises(ClosedError, match="the bus is closed"):
            raise AssertionError((name, await call()))


async def test_a_wait_ended_by_close_is_not_a_full_queue() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=1))
    await queue.put(1)
    with pytest.raises(FullError):
        queue.put_nowait(2)
    await bus.aclose()
    with pytest.raises(ClosedError):
        queue.put_nowait(2)


async def test_subscriptions_are_what_they_are() -> None:
    bus = Bus()
    assert isinstance(bus.subscription("s", "t"), Subscription)
    bus.queue("q")
    with pytest.raises(DeclarationError, match="'q' is a queue, not a subscription"):
        bus.subscription("q", "t")
    bus._engine.check()


async def test_under_copy_an_observer_sees_what_was_published_not_what_became_of_it() -> None:
    class Keeper(Observer):
        def __init__(self) -> None:
            self.bodies: list[Any] = []

        def published(self, message: Message[Any], queues: Sequence[str]) -> None:
            self.bodies.append(message.body)

    bus, keeper = Bus(isolation=Isolation.COPY), Keeper()
    bus.observe(keeper)
    queue, topic = bus.queue("q"), bus.topic("t")
    for send in (queue.put, topic.publish):
        body = ["a"]
        await send(body)
        body.append("changed")
    (await queue.get()).body.append("changed")
    assert keeper.bodies == [["a"], ["a"]]
