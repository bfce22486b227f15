"""Topics: publishing to whoever matches, and reading what they retain."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from eventbus import (
    EARLIEST,
    LATEST,
    Bus,
    ClosedError,
    DeclarationError,
    Fifo,
    FullError,
    Isolation,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Queue,
    Retention,
    Topic,
    TopicStats,
    UnroutableError,
    msg,
    murmur2,
)
from tests.kit import ManualClock, turns

pytestmark = pytest.mark.anyio

OPTIONS: list[dict[str, Any]] = [{}, {"key": "k"}, {"key": b"k"}, {"headers": {"a": 1}}, {"priority": 4}, {"id": "i"}]


def rest(queue: Queue[Any]) -> list[Any]:
    return [message.body for message in queue.peek(1 << 20)]


async def read(replay: Any) -> list[Any]:
    return [message.body async for message in replay]


# publishing


async def test_a_message_goes_to_every_queue_that_is_bound() -> None:
    bus = Bus()
    topic = bus.topic("t")
    one, two = topic.subscription("one"), topic.subscription("two")
    offsets = [await topic.publish("a"), topic.publish_nowait("b"), *await topic.publish_many(["c", "d"])]
    assert offsets == [1, 2, 3, 4]
    for subscription in (one, two):
        assert rest(subscription) == ["a", "b", "c", "d"]
        assert [m.offset for m in subscription.peek(9)] == offsets
        assert {m.topic for m in subscription.peek(9)} == {"t"}


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed(3), Keyed(3, partitioner=murmur2)])
@pytest.mark.parametrize("options", OPTIONS)
async def test_options_reach_the_message_whichever_way_it_is_published(order: Any, options: dict[str, Any]) -> None:
    topic = Bus().topic("t")
    subscription = topic.subscription("s", Policy(order))
    await topic.publish("b", **options)
    topic.publish_nowait("b", **options)
    await topic.publish_many(["b"], **options)
    messages = subscription.peek(3)
    assert len(messages) == 3
    for message in messages:
        assert message.key == options.get("key")
        assert message.headers == options.get("headers", {})
        assert message.priority == options.get("priority", 0)
        assert message.id == options.get("id")


async def test_many_may_have_a_key_each() -> None:
    topic = Bus().topic("t")
    plain, keyed = topic.subscription("plain"), topic.subscription("keyed", Policy(Keyed()))
    await topic.publish_many(["a1", "b2"], key=lambda body: body[0])
    for subscription in (plain, keyed):
        assert [m.key for m in subscription.peek(2)] == ["a", "b"]
    with pytest.raises(TypeError, match="key takes str, bytes or None, but got 1"):
        await topic.publish_many(["x"], key=lambda body: 1)  # type: ignore[arg-type,return-value]


async def test_what_nobody_wants_is_counted_and_gone() -> None:
    bus = Bus()
    topic = bus.topic("t")
    await topic.publish(1)
    await topic.publish_many([2, 3])
    topic.subscription("s", where="body > 5")
    await topic.publish_many([4, 6])
    assert bus.stats().topics["t"] == TopicStats(published=5, unroutable=4, retained=0)


async def test_what_is_mandatory_must_reach_somebody() -> None:
    bus = Bus()
    topic = bus.topic("t")
    topic.subscription("s", where=msg.body > 5)
    for call in (lambda: topic.publish(1, mandatory=True), lambda: topic.publish_many([7, 1], mandatory=True)):
        with pytest.raises(UnroutableError, match="'t'") as caught:
            await call()
        assert caught.value.topic == "t"
    with pytest.raises(UnroutableError):
        topic.publish_nowait(1, mandatory=True)
    assert bus.stats().topics["t"].published == 0
    assert bus.stats().offset == 0
    assert await topic.publish(7, mandatory=True) == 1
    assert topic.publish_nowait(8, mandatory=True) == 2
    assert await topic.publish_many([9, 10], mandatory=True) == [3, 4]


async def test_a_publish_waits_until_every_matching_queue_has_room() -> None:
    bus = Bus()
    topic = bus.topic("t")
    narrow, wide = topic.subscription("narrow", Policy(capacity=1)), topic.subscription("wide")
    other = topic.subscription("other", where="body == 3")
    await topic.publish(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(topic.publish, 2)
        await turns()
        assert rest(wide) == [1], "all or nothing"
        with pytest.raises(FullError) as caught:
            topic.publish_nowait(5)
        assert caught.value.queue == "t/narrow"
        (await narrow.get()).ack()
        await turns()
        assert (rest(narrow), rest(wide), rest(other)) == ([2], [1, 2], [])
        bus._engine.check()


async def test_publishers_that_wait_are_served_in_the_order_of_arrival() -> None:
    topic = Bus().topic("t")
    one, two = topic.subscription("one", Policy(capacity=1)), topic.subscription("two", Policy(capacity=1))
    await topic.publish(0)
    async with anyio.create_task_group() as tasks:
        for body in (1, 2):
            tasks.start_soon(topic.publish, body)
            await turns()
        tasks.start_soon(topic.publish_many, [3, 4])
        await turns()
        for expected in range(5):
            for subscription in (two, one):
                (delivery := await subscription.get()).ack()
                assert delivery.body == expected
                await turns()


async def test_a_publish_fails_if_a_queue_that_fails_has_no_room() -> None:
    bus = Bus()
    topic = bus.topic("t")
    narrow, wide = topic.subscription("narrow", Policy(capacity=1, overflow=Overflow.FAIL)), topic.subscription("wide")
    await topic.publish(1)
    for call in (lambda: topic.publish(2), lambda: topic.publish_many([2])):
        with pytest.raises(FullError, match="t/narrow"):
            await call()
    assert (rest(narrow), rest(wide)) == ([1], [1])
    bus._engine.check()


async def test_a_publisher_that_waits_fails_once_a_queue_that_fails_is_full() -> None:
    bus = Bus()
    topic = bus.topic("t")
    waiting = topic.subscription("waiting", Policy(capacity=1))
    failing = topic.subscription("failing", Policy(capacity=2, overflow=Overflow.FAIL))
    await topic.publish(1)
    raised = []

    async def publish() -> None:
        with pytest.raises(FullError, match="t/failing"):
            await topic.publish(2)
        raised.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        await turns()
        await failing.put("in between")
        (await waiting.get()).ack()
    assert raised
    assert waiting.stats().waiting_putters == 0
    bus._engine.check()


async def test_a_publish_to_a_queue_that_drops_always_succeeds() -> None:
    topic = Bus().topic("t")
    oldest = topic.subscription("oldest", Policy(capacity=2, overflow=Overflow.DROP_OLDEST))
    newest = topic.subscription("newest", Policy(capacity=2, overflow=Overflow.DROP_NEWEST))
    await topic.publish_many(range(5))
    assert (rest(oldest), rest(newest)) == ([3, 4], [0, 1])


async def test_a_cancelled_publish_has_not_happened() -> None:
    bus = Bus()
    topic = bus.topic("t")
    subscription = topic.subscription("s", Policy(capacity=1))
    await topic.publish(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(topic.publish, 2)
        await turns()
        tasks.cancel_scope.cancel()
    assert rest(subscription) == [1]
    assert subscription.stats().waiting_putters == 0
    bus._engine.check()


async def test_a_subscription_made_while_a_publisher_waits_is_reached_too() -> None:
    bus = Bus()
    topic = bus.topic("t")
    first = topic.subscription("first", Policy(capacity=1))
    await topic.publish(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(topic.publish, 2)
        await turns()
        second = topic.subscription("second")
        (await first.get()).ack()
    assert rest(first) == rest(second) == [2]
    bus._engine.check()


async def test_a_filter_that_declares_a_subscription_is_seen_before_the_message_enters() -> None:
    """User code runs outside the lock, so routes may change between the choice and the entry."""
    topic = Bus().topic("t")

    def where(message: Any) -> bool:
        topic.subscription("late")
        return True

    early = topic.subscription("early", where=where)
    topic.publish_nowait(1)
    assert rest(early) == [1]
    await topic.publish(2)
    assert rest(topic.subscription("late")) == [1, 2]


async def test_a_subscription_made_during_publish_many_gets_the_rest() -> None:
    topic = Bus().topic("t")
    first = topic.subscription("first", Policy(capacity=2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(topic.publish_many, range(6))
        await turns()
        late = topic.subscription("late")
        for _ in range(6):
            (await first.get()).ack()
    assert rest(late) == [2, 3, 4, 5]


# patterns


async def test_a_pattern_matches_topics_that_are_there_and_those_to_come() -> None:
    bus = Bus()
    before = bus.topic("orders.new")
    words = {p: bus.subscription(f"s{n}", p) for n, p in enumerate(["orders.*", "orders.#", "#", "*.new", "#.x.#"])}
    after = bus.topic("orders.old")
    topics = [before, after, bus.topic("orders"), bus.topic("orders.new.x"), bus.topic("a.new"), bus.topic("x")]
    for topic in topics:
        await topic.publish(topic.name)
    assert {p: rest(s) for p, s in words.items()} == {
        "orders.*": ["orders.new", "orders.old"],
        "orders.#": ["orders.new", "orders.old", "orders", "orders.new.x"],
        "#": [topic.name for topic in topics],
        "*.new": ["orders.new", "a.new"],
        "#.x.#": ["orders.new.x", "x"],
    }


async def test_a_subscription_of_several_topics_gets_them_in_one_order() -> None:
    bus = Bus()

    class Order:
        pass

    subscription = bus.subscription("s", ["a", Order, "a", "b.*"])
    await bus.topic("b.c").publish(1)
    await bus.publish(order := Order())
    await bus.topic("a").publish(3)
    assert rest(subscription) == [1, order, 3]


# by class


async def test_a_class_has_the_topic_of_its_name_or_of_its_dunder_topic() -> None:
    class Plain:
        pass

    class Named:
        __topic__ = "orders.named"

    class Child(Named):
        pass

    bus = Bus()
    assert bus.topic(Plain).name == "Plain"
    assert bus.topic(Named).name == "orders.named"
    assert bus.topic(Child).name == "Child", "the exact type: a subclass has a topic of its own"
    subscription = bus.subscription("s", [Plain, Named])
    await bus.publish(one := Plain())
    await bus.publish(two := Named(), key="k", headers={"a": 1}, priority=2, id="i")
    await bus.publish(Child())
    assert rest(subscription) == [one, two]
    message = subscription.peek(2)[1]
    assert (message.key, message.headers, message.priority, message.id) == ("k", {"a": 1}, 2, "i")
    with pytest.raises(UnroutableError):
        await bus.publish(Child(), mandatory=True)


async def test_two_classes_of_one_topic_contradict_each_other() -> None:
    class A:
        __topic__ = "t"

    class B:
        __topic__ = "t"

    bus = Bus()
    bus.topic(A)
    with pytest.raises(DeclarationError, match="'t' is declared with the type") as caught:
        bus.topic(B)
    assert (caught.value.name, caught.value.declared, caught.value.requested) == ("t", A, B)
    assert bus.topic("t") is bus.topic(A)


# retention and replay


async def test_a_topic_retains_nothing_unless_it_is_told_to() -> None:
    bus = Bus()
    topic = bus.topic("t")
    await topic.publish(1)
    assert await read(topic.replay()) == []
    assert bus.topic("t", retain=Retention(2)) is topic
    await topic.publish_many([2, 3, 4])
    assert await read(topic.replay()) == [3, 4]
    assert bus.stats().topics["t"].retained == 2


@pytest.mark.parametrize("publish", ["publish", "publish_nowait", "publish_many"])
async def test_retention_keeps_the_last_messages_whether_anybody_wants_them(publish: str) -> None:
    bus = Bus()
    topic = bus.topic("t", retain=Retention(3))
    for body in range(5):
        if publish == "publish":
            await topic.publish(body)
        elif publish == "publish_nowait":
            topic.publish_nowait(body)
        else:
            await topic.publish_many([body])
    assert await read(topic.replay()) == [2, 3, 4]
    bus._engine.check()


async def test_a_replayed_message_is_the_one_that_was_published() -> None:
    topic = Bus(clock=ManualClock(7.0)).topic("t", retain=Retention(3))
    offset = await topic.publish("b", key="k", headers={"a": 1}, priority=2, id="i")
    [message] = [m async for m in topic.replay()]
    assert (message.offset, message.body, message.key, message.time) == (offset, "b", "k", 7.0)
    assert (message.headers, message.priority, message.id, message.topic) == ({"a": 1}, 2, "i", "t")


async def past() -> tuple[Bus, Topic[Any]]:
    """Bodies 0 to 5, at the times 0 to 5, with the offsets 1 to 6."""
    clock = ManualClock(0.0)
    bus = Bus(clock=clock)
    topic = bus.topic("t", retain=Retention(10))
    for body in range(6):
        await topic.publish(body, key="even" if body % 2 == 0 else "odd")
        clock.advance(1)
    return bus, topic


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (EARLIEST, None, [0, 1, 2, 3, 4, 5]),
        (LATEST, None, []),
        (3, None, [2, 3, 4, 5]),
        (at(3.5), None, [4, 5]),
        (at(99), None, []),
        (99, None, []),
        (EARLIEST, 3, [0, 1]),
        (EARLIEST, at(3), [0, 1, 2]),
        (EARLIEST, LATEST, [0, 1, 2, 3, 4, 5]),
        (EARLIEST, EARLIEST, []),
        (EARLIEST, at(99), [0, 1, 2, 3, 4, 5]),
        (EARLIEST, 99, [0, 1, 2, 3, 4, 5]),
        (2, 4, [1, 2]),
        (4, 2, []),
        (0, 0, []),
    ],
)
async def test_a_replay_goes_from_start_up_to_but_not_to_stop(start: Any, stop: Any, expected: list[int]) -> None:
    bus, topic = await past()
    assert await read(topic.replay(start, stop)) == expected
    assert await read(bus.replay("#", start, stop)) == expected


async def test_a_replay_chooses_by_filter_and_key() -> None:
    _, topic = await past()
    assert await read(topic.replay(where="body > 2")) == [3, 4, 5]
    assert await read(topic.replay(key="odd")) == [1, 3, 5]
    assert await read(topic.replay(where=lambda m: m.body < 4, key="even")) == [0, 2]
    assert await read(topic.replay(key="none")) == []


async def test_a_replay_ends_at_the_last_offset_at_its_first_step() -> None:
    _, topic = await past()
    bodies = []
    async for message in topic.replay():
        bodies.append(message.body)
        await topic.publish("later")
    assert bodies == [0, 1, 2, 3, 4, 5]


async def test_a_replay_pages_through_much() -> None:
    topic = Bus().topic("t", retain=Retention(5000))
    await topic.publish_many(range(1000))
    assert await read(topic.replay()) == list(range(1000))


async def test_a_replay_of_several_topics_is_in_one_order() -> None:
    bus = Bus()
    for body in range(600):
        await bus.topic(f"t.{body % 3}", retain=Retention(1000)).publish(body)
    bus.topic("t.empty")
    assert await read(bus.replay("t.*")) == list(range(600))
    assert await read(bus.replay(["t.2", "t.1"], 1, 8)) == [1, 2, 4, 5]


async def test_a_replay_of_a_topic_that_is_not_there_is_empty() -> None:
    assert await read(Bus().replay("none")) == []


async def test_a_following_replay_goes_on_with_what_comes() -> None:
    _, topic = await past()
    bodies = []

    async def follow() -> None:
        async for message in topic.replay(4, follow=True):
            bodies.append(message.body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await turns()
        assert bodies == [3, 4, 5]
        for body in (6, 7):
            await topic.publish(body)
            await turns()
        assert bodies == [3, 4, 5, 6, 7]
        await topic.publish_many([8, 9])
        await turns()
        assert bodies[5:] == [8, 9]
        tasks.cancel_scope.cancel()


async def test_a_following_replay_of_a_pattern_takes_in_topics_to_come() -> None:
    bus = Bus()
    bodies = []

    async def follow() -> None:
        async for message in bus.replay("t.*", follow=True, where="body > 0"):
            bodies.append(message.body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await turns()
        for body in range(4):
            await bus.topic(f"t.{body}", retain=Retention(3)).publish(body)
            await turns()
        assert bodies == [1, 2, 3]
        tasks.cancel_scope.cancel()
    bus._engine.check()


@pytest.mark.parametrize("stop", [9, 7])
async def test_a_following_replay_ends_when_its_stop_has_gone_by(stop: int) -> None:
    bus, topic = await past()
    bodies = []

    async def follow() -> None:
        async for message in topic.replay(5, stop, follow=True):
            bodies.append(message.body)
        bodies.append("end")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await turns()
        for body in range(6, 6 + max(0, stop - 7)):
            assert "end" not in bodies
            await topic.publish(body)
            await turns()
        assert bodies == [4, 5, *range(6, stop - 1), "end"]
    bus._engine.check()


async def test_a_following_replay_ends_when_other_topics_pass_its_stop() -> None:
    bus, topic = await past()
    bodies: list[Any] = []

    async def follow() -> None:
        bodies.extend(await read(topic.replay(6, 10, follow=True)))
        bodies.append("end")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await turns()
        other = bus.topic("u", retain=Retention(1))
        await other.publish_many(range(5))
    assert bodies == [5, "end"]


async def test_a_following_replay_may_be_closed_and_is_forgotten() -> None:
    bus, topic = await past()
    async with aclosing(topic.replay(follow=True)) as replay:  # type: ignore[type-var]
        async for message in replay:
            if message.body == 5:
                break
    await topic.publish(6)
    bus._engine.check()


async def test_a_following_replay_ends_with_the_bus() -> None:
    bus, topic = await past()
    bodies: list[Any] = []

    async def follow() -> None:
        bodies.extend(await read(topic.replay(6, follow=True)))
        bodies.append("end")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await turns()
        await bus.aclose()
    assert bodies == [5, "end"]


async def test_following_what_retains_nothing_is_refused() -> None:
    bus = Bus()
    bus.topic("t")
    for topics in ("t", ["t", "not there"]):
        with pytest.raises(DeclarationError, match="'t' retains nothing") as caught:
            bus.replay(topics, follow=True)
        assert caught.value.name == "t"


async def test_a_reader_slower_than_the_topic_forgets_is_told(caplog: pytest.LogCaptureFixture) -> None:
    topic = Bus().topic("t", retain=Retention(2))
    await topic.publish_many([1, 2])
    bodies = await read(topic.replay())
    assert not caplog.records
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            async for message in topic.replay(LATEST, follow=True):
                bodies.append(message.body)

        tasks.start_soon(follow)
        await turns()
        await topic.publish_many([3, 4, 5, 6])
        await turns()
        tasks.cancel_scope.cancel()
    assert bodies == [1, 2, 5, 6]
    [record] = caplog.records
    assert (record.name, record.levelname) == ("eventbus", "WARNING")
    assert "slower than topic 't' forgets: messages from offset 3 to 4" in record.getMessage()


async def test_a_topic_may_start_to_retain_while_others_follow_a_pattern() -> None:
    bus = Bus()
    bus.topic("a")
    bodies: list[Any] = []

    async def follow() -> None:
        async for message in bus.replay("#", follow=True):
            bodies.append(message.body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        await turns()
        await bus.topic("a").publish("lost")
        await bus.topic("a", retain=Retention(5)).publish("kept")
        await turns()
        tasks.cancel_scope.cancel()
    assert bodies == ["kept"]


# a subscription's start


@pytest.mark.parametrize(
    ("start", "expected"),
    [(LATEST, []), (EARLIEST, [0, 1, 2, 3, 4, 5]), (4, [3, 4, 5]), (at(4), [4, 5]), (at(99), [])],
)
async def test_a_new_subscription_begins_where_it_says(start: Any, expected: list[int]) -> None:
    bus, topic = await past()
    one, two = topic.subscription("one", start=start), bus.subscription("two", "#", start=start)
    await topic.publish(6)
    assert rest(one) == rest(two) == [*expected, 6]
    assert one.stats().published == len(expected) + 1
    bus._engine.check()


async def test_a_start_counts_for_a_new_subscription_alone() -> None:
    _, topic = await past()
    subscription = topic.subscription("s")
    assert topic.subscription("s", start=EARLIEST) is subscription
    assert rest(subscription) == []


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed(3), Keyed(3, sticky=True)])
async def test_history_is_filtered_finds_its_place_in_every_order_and_always_fits(order: Any) -> None:
    _, topic = await past()
    subscription = topic.subscription("s", Policy(order, capacity=2), where="body != 2", start=EARLIEST)
    assert sorted(rest(subscription)) == [0, 1, 3, 4, 5]


async def test_history_is_read_no_further_once_its_filter_unbinds_the_subscription() -> None:
    """A filter is the user's code: it may do what it likes with the bus."""
    bus = Bus()
    topic = bus.topic("t", retain=Retention(1000))
    await topic.publish_many(range(1000))

    def where(message: Any) -> bool:
        if message.body == 0:
            bus.queue("t/s").unbind("t")
        return True

    subscription = topic.subscription("s", where=where, start=EARLIEST)
    await topic.publish(7)
    assert 0 < len(rest(subscription)) < 1000
    bus._engine.check()


async def test_a_subscription_whose_filter_closes_the_bus_is_refused() -> None:
    bus, topic = await past()

    def where(message: Any) -> bool:
        with pytest.raises(StopIteration):
            bus.aclose().send(None)
        return True

    with pytest.raises(ClosedError):
        topic.subscription("s", where=where, start=EARLIEST)
    bus._engine.check()


async def test_a_publish_the_short_way_wakes_who_waits() -> None:
    topic = Bus().topic("t")
    subscription = topic.subscription("s")
    got = []

    async def receive() -> None:
        got.append((await subscription.get()).body)

    for body in range(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await turns()
            await topic.publish(body)
    assert got == [0, 1, 2]


async def test_a_subscription_given_another_filter_applies_it_to_what_was_not_delivered() -> None:
    bus = Bus()
    topic = bus.topic("t")
    subscription = topic.subscription("s", where="body > 2")
    await topic.publish_many(range(8))
    held = await subscription.get()
    assert topic.subscription("s", where="body > 5") is subscription
    assert rest(subscription) == [6, 7]
    held.ack()
    topic.subscription("s")
    topic.subscription("s", where="body > 5")
    await topic.publish_many([5, 6])
    assert rest(subscription) == [6, 7, 6]
    assert subscription.stats().purged == 2
    bus._engine.check()


async def test_a_filter_takes_text_symbols_or_a_function() -> None:
    topic = Bus().topic("t")
    kept = [
        topic.subscription("text", where="body.n >= 2 and headers['r'] == 'EU'"),
        topic.subscription("symbols", where=(msg.body.n >= 2) & (msg.headers["r"] == "EU")),
        topic.subscription("function", where=lambda m: m.body["n"] >= 2 and m.headers.get("r") == "EU"),
    ]
    for n in range(4):
        await topic.publish({"n": n}, headers={"r": "EU" if n % 2 else "UK"})
    assert [[b["n"] for b in rest(s)] for s in kept] == [[3]] * 3


async def test_a_filter_that_raises_does_not_match_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    topic = Bus().topic("t")
    subscription = topic.subscription("s", where=lambda m: 1 / m.body > 0)
    await topic.publish_many([0, 1])
    assert rest(subscription) == [1]
    assert len(caplog.records) == 1


async def test_a_topic_prints_its_name() -> None:
    assert repr(Bus().topic("t")) == "<Topic 't'>"


async def test_a_private_subscription_of_a_copying_bus_has_bodies_of_its_own() -> None:
    bus = Bus(isolation=Isolation.COPY)
    topic = bus.topic("t", retain=Retention(5))
    await topic.publish([1])
    [one] = rest(topic.subscription(start=EARLIEST))
    [two] = await read(topic.replay())
    assert one == two == [1]
    assert one is not two
