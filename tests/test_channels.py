"""Queues and subscriptions: every call of theirs, and what it leaves behind."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import pytest

from eventbus import (
    EARLIEST,
    LATEST,
    Bus,
    ClosedError,
    DeclarationError,
    EmptyError,
    Fifo,
    FullError,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Queue,
    QueueStats,
    Retention,
    Subscription,
    msg,
)
from tests.kit import ManualClock, turns

pytestmark = pytest.mark.anyio

OPTIONS: list[dict[str, Any]] = [{}, {"key": "k"}, {"key": b"k"}, {"headers": {"a": 1}}, {"priority": 4}, {"id": "i"}]
ORDERS = [Fifo(), Priority(), Keyed(3), Keyed()]


def rest(queue: Queue[Any]) -> list[Any]:
    return [message.body for message in queue.peek(1 << 20)]


# putting


async def test_every_way_of_putting_returns_offsets_that_grow() -> None:
    queue = Bus().queue("q")
    offsets = [await queue.put("a"), queue.put_nowait("b"), *await queue.put_many(["c", "d"])]
    assert offsets == sorted(set(offsets))
    assert [m.offset for m in queue.peek(10)] == offsets
    assert rest(queue) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("options", OPTIONS)
async def test_options_reach_the_message_whichever_way_it_is_put(order: Any, options: dict[str, Any]) -> None:
    queue = Bus().queue("q", Policy(order))
    await queue.put("b", **options)
    queue.put_nowait("b", **options)
    await queue.put_many(["b"], **options)
    for message in queue.peek(3):
        assert message.key == options.get("key")
        assert message.headers == options.get("headers", {})
        assert message.priority == options.get("priority", 0)
        assert message.id == options.get("id")
        assert (message.topic, message.body) == ("q", "b")


async def test_many_may_have_a_key_each() -> None:
    queue = Bus().queue("q")
    await queue.put_many(["a1", "b2"], key=lambda body: body[0])
    assert [m.key for m in queue.peek(2)] == ["a", "b"]
    with pytest.raises(TypeError, match="key takes str, bytes or None, but got 1"):
        await queue.put_many(["x", "y"], key=lambda body: 1)  # type: ignore[arg-type,return-value]
    assert queue.stats().ready == 2


@pytest.mark.parametrize("bodies", [[1, 2, 3], (1, 2, 3), range(1, 4)])
async def test_many_are_any_sequence(bodies: Any) -> None:
    queue = Bus().queue("q")
    await queue.put_many(bodies)
    assert rest(queue) == [1, 2, 3]


async def test_putting_none_of_many_is_harmless() -> None:
    for overflow in Overflow:
        queue = Bus().queue("q", Policy(overflow=overflow))
        assert await queue.put_many([]) == []


async def test_many_may_be_changed_by_the_caller_while_they_wait() -> None:
    queue = Bus().queue("q", Policy(capacity=1))
    bodies = [1, 2, 3]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.put_many, bodies)
        await turns()
        bodies.clear()
        for expected in (1, 2, 3):
            delivery = await queue.get()
            assert delivery.body == expected
            delivery.ack()


@pytest.mark.parametrize("count", [255, 256, 257, 1000])
async def test_many_enter_in_slices_as_one_by_one(count: int) -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=None))
    assert await queue.put_many(range(count)) == list(range(1, count + 1))
    assert rest(queue) == list(range(count))
    assert queue.stats().peak == count
    bus._engine.check()


async def test_many_enter_as_room_appears() -> None:
    queue = Bus().queue("q", Policy(capacity=2))
    offsets: list[int] = []

    async def put() -> None:
        offsets.extend(await queue.put_many(range(5)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put)
        await turns()
        assert rest(queue) == [0, 1]
        assert queue.stats().waiting_putters == 1
        for expected in range(5):
            (delivery := await queue.get()).ack()
            assert delivery.body == expected
    assert offsets == [1, 2, 3, 4, 5]


async def test_a_loop_of_immediate_puts_and_gets_lets_others_run() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=None))
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        for call in (
            lambda: queue.put(1),
            lambda: queue.get(),
            lambda: queue.put_many([1] * 10),
            lambda: queue.get_many(10),
            lambda: bus.topic("t").publish(1),
            lambda: bus.topic("t").publish_many([1] * 10),
        ):
            others = 0
            for _ in range(1200):
                await call()
            assert others
        others = 0
        await queue.put_many(range(20_000))
        assert others, "one long call is a loop too"
        tasks.cancel_scope.cancel()


# overflow


async def test_a_full_queue_that_waits_serves_putters_in_the_order_of_arrival() -> None:
    queue = Bus().queue("q", Policy(capacity=1))
    await queue.put(0)
    async with anyio.create_task_group() as tasks:
        for body in (1, 2, 3):
            tasks.start_soon(queue.put, body)
            await turns()
        assert queue.stats().waiting_putters == 3
        with pytest.raises(FullError):
            queue.put_nowait("newcomer")
        for expected in range(4):
            delivery = await queue.get()
            assert delivery.body == expected
            delivery.ack()
    assert queue.stats().waiting_putters == 0


async def test_put_nowait_into_a_full_queue_raises_full() -> None:
    queue = Bus().queue("q", Policy(capacity=1))
    queue.put_nowait(1)
    with pytest.raises(FullError, match=r"'q' is full \(1 messages\)") as caught:
        queue.put_nowait(2)
    assert (caught.value.queue, caught.value.capacity, caught.value.cycle) == ("q", 1, ())
    assert rest(queue) == [1]


@pytest.mark.parametrize("order", [Fifo(), Priority()])
async def test_of_many_those_that_fit_enter_at_once_and_the_others_as_room_appears(order: Any) -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(order, capacity=5))
    offsets: list[int] = []

    async def put() -> None:
        offsets.extend(await queue.put_many(range(12)))
        offsets.extend(await queue.put_many([12]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put)
        await turns()
        assert rest(queue) == [0, 1, 2, 3, 4]
        for expected in range(13):
            bus._engine.check()
            with await queue.get() as delivery:
                assert delivery.body == expected
    assert offsets == list(range(1, 14))
    assert queue.stats().peak == 5


async def test_many_do_not_overtake_who_waits_for_room() -> None:
    queue = Bus().queue("q", Policy(capacity=2))
    await queue.put_many([1, 2])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.put, 3)
        await turns()
        (await queue.get()).ack()
        assert not queue._state.put_many([4, 5], 0, 0.0), "the room that there is, is promised"
    assert rest(queue) == [2, 3]


async def test_fail_raises_full_from_every_call_and_takes_all_or_none() -> None:
    queue = Bus().queue("q", Policy(capacity=3, overflow=Overflow.FAIL))
    await queue.put(1)
    with pytest.raises(FullError):
        await queue.put_many([2, 3, 4])
    assert rest(queue) == [1]
    await queue.put_many([2, 3])
    for put in (queue.put(4), queue.put_many([4])):
        with pytest.raises(FullError):
            await put
    with pytest.raises(FullError):
        queue.put_nowait(4)
    assert rest(queue) == [1, 2, 3]


@pytest.mark.parametrize("order", ORDERS)
async def test_drop_oldest_lets_the_oldest_go(order: Any) -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(order, 3, Overflow.DROP_OLDEST))
    await queue.put_many(range(5), key=str)
    queue.put_nowait(5)
    assert sorted(rest(queue)) == [3, 4, 5]
    stats = queue.stats()
    assert (stats.published, stats.dropped, stats.ready, stats.peak) == (6, 3, 3, 3)
    bus._engine.check()


@pytest.mark.parametrize("order", ORDERS)
async def test_drop_newest_lets_the_newcomer_go(order: Any) -> None:
    queue = Bus().queue("q", Policy(order, 3, Overflow.DROP_NEWEST))
    offsets = await queue.put_many(range(5))
    assert len(offsets) == 5
    assert sorted(rest(queue)) == [0, 1, 2]
    assert queue.stats().dropped == 2


async def test_with_priorities_the_oldest_of_the_lowest_goes_the_newcomer_among_them() -> None:
    queue = Bus().queue("q", Policy(Priority(), 2, Overflow.DROP_OLDEST))
    await queue.put("low 1", priority=-1)
    await queue.put("low 2", priority=-1)
    await queue.put("high", priority=5)
    assert rest(queue) == ["high", "low 2"]
    await queue.put("lowest", priority=-2)
    assert rest(queue) == ["high", "low 2"]
    await queue.put("low 3", priority=-1)
    assert rest(queue) == ["high", "low 3"]


async def test_drop_oldest_takes_what_is_reserved_before_what_is_younger() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=3, overflow=Overflow.DROP_OLDEST))
    await queue.put_many(range(3))
    async with queue.consume(10) as consumer:
        await anext(consumer)
        await queue.put_many([3, 4])
        bus._engine.check()
        assert rest(queue) == [2, 3, 4]


async def test_what_comes_back_always_fits() -> None:
    bus = Bus()
    for index, overflow in enumerate(Overflow):
        queue = bus.queue(f"q{index}", Policy(capacity=1, overflow=overflow))
        await queue.put("first")
        delivery = await queue.get()
        await queue.put("second")
        delivery.nack(delay=0)
        assert rest(queue) == ["first", "second"]
        assert queue.stats().dropped == 0
        bus._engine.check()


async def test_capacity_does_not_count_what_is_out() -> None:
    queue = Bus().queue("q", Policy(capacity=2))
    await queue.put_many([1, 2])
    await queue.get_many(2)
    await queue.put_many([3, 4])
    assert (queue.stats().ready, queue.stats().out) == (2, 2)


async def test_overflow_drops_go_to_a_dead_letter_only_if_one_is_named() -> None:
    bus = Bus()
    silent = bus.queue("silent", Policy(capacity=1, overflow=Overflow.DROP_NEWEST))
    named = bus.queue("named", Policy(capacity=1, overflow=Overflow.DROP_OLDEST, dead_letter="grave"))
    for queue in (silent, named):
        await queue.put_many(["a", "b"])
    assert "dead-letters" not in bus.stats().queues
    [letter] = bus.queue("grave").peek(5)
    [death] = letter.deaths
    assert (letter.body, death.queue, death.reason, death.offset, death.attempts) == ("a", "named", "overflow", 3, 0)
    assert (named.stats().dropped, named.stats().dead) == (1, 0)


async def test_a_ring_of_dead_letter_queues_that_overflow_comes_to_an_end() -> None:
    bus = Bus()
    policy = {"capacity": 1, "overflow": Overflow.DROP_OLDEST}
    a = bus.queue("a", Policy(dead_letter="b", **policy))  # type: ignore[arg-type]
    b = bus.queue("b", Policy(dead_letter="a", **policy))  # type: ignore[arg-type]
    for body in range(4):
        await a.put(body)
    assert (len(rest(a)), len(rest(b))) == (1, 1)
    bus._engine.check()


# getting


async def test_get_waits_for_a_message() -> None:
    queue = Bus().queue("q")
    got = []

    async def receive() -> None:
        got.append((await queue.get()).body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        assert not got
        queue.put_nowait(1)
    assert got == [1]


async def test_get_nowait_of_nothing_raises_empty() -> None:
    queue = Bus().queue("q")
    with pytest.raises(EmptyError, match="'q'") as caught:
        queue.get_nowait()
    assert caught.value.queue == "q"


async def test_those_who_wait_are_served_in_the_order_of_arrival() -> None:
    queue = Bus().queue("q")
    got = []

    async def receive(name: int) -> None:
        got.append((name, (await queue.get()).body))

    async with anyio.create_task_group() as tasks:
        for name in range(3):
            tasks.start_soon(receive, name)
            await turns()
        for body in range(3):
            queue.put_nowait(body)
            with pytest.raises(EmptyError):
                queue.get_nowait()
            await turns()
    assert got == [(0, 0), (1, 1), (2, 2)]


async def test_get_many_takes_what_is_ready_up_to_its_limit() -> None:
    queue = Bus().queue("q")
    await queue.put_many(range(5))
    assert (await queue.get_many(3)).bodies == [0, 1, 2]
    assert (await queue.get_many(3)).bodies == [3, 4]


async def test_get_many_waits_for_at_least_one() -> None:
    queue = Bus().queue("q")
    got = []

    async def receive() -> None:
        got.append((await queue.get_many(3)).bodies)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        await queue.put(1)
    assert got == [[1]]


async def test_get_many_within_gathers_until_it_has_its_limit() -> None:
    queue = Bus().queue("q")
    got = []

    async def receive() -> None:
        got.append((await queue.get_many(3, within=3600)).bodies)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        for body in range(3):
            await turns()
            assert not got
            await queue.put(body)
    assert got == [[0, 1, 2]]


async def test_get_many_within_no_time_is_content_with_what_is_there() -> None:
    queue = Bus().queue("q")
    await queue.put_many([1, 2])
    assert (await queue.get_many(3, within=0)).bodies == [1, 2]
    await queue.put_many([3, 4])
    assert (await queue.get_many(2, within=0)).bodies == [3, 4]


async def test_get_many_within_returns_what_came_in_time() -> None:
    trio = pytest.importorskip("trio.testing")

    async def main() -> None:
        queue = Bus().queue("q")
        async with anyio.create_task_group() as tasks:

            async def put() -> None:
                for body in range(5):
                    await queue.put(body)
                    await anyio.sleep(2)

            tasks.start_soon(put)
            assert (await queue.get_many(10, within=5)).bodies == [0, 1, 2]

    from anyio.to_thread import run_sync

    clock = trio.MockClock(autojump_threshold=0)
    await run_sync(lambda: anyio.run(main, backend="trio", backend_options={"clock": clock}))


async def test_a_cancelled_gathering_takes_nothing() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put_many([1, 2])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: queue.get_many(3, within=3600))
        await turns()
        assert queue.stats().out == 2
        tasks.cancel_scope.cancel()
    bus._engine.check()
    assert [(d.body, d.attempt) for d in await queue.get_many(2)] == [(1, 1), (2, 1)]


async def test_a_gathering_that_lost_what_it_had_gives_back_the_rest() -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription("s")
    await bus.topic("t").publish(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: subscription.get_many(3, within=3600))
        await turns()
        await subscription.seek(LATEST)
        tasks.cancel_scope.cancel()
    bus._engine.check()
    assert (subscription.stats().ready, subscription.stats().out) == (0, 0)


async def test_a_cancelled_get_loses_nothing() -> None:
    queue = Bus().queue("q")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.get)
        await turns()
        queue.put_nowait(1)
        tasks.cancel_scope.cancel()
    stats = queue.stats()
    assert stats.ready + stats.out == 1


async def test_a_plain_gets_delivery_stays_out_until_settled() -> None:
    queue = Bus().queue("q")
    await queue.put(1)
    delivery = await queue.get()
    async with queue.consume():
        pass
    assert queue.stats().out == 1
    delivery.ack()
    assert queue.stats().out == 0


# orders


async def test_fifo_gives_what_comes_back_its_original_place() -> None:
    queue = Bus().queue("q")
    await queue.put_many(range(4))
    first, second, third = await queue.get_many(3)
    third.release()
    first.nack(delay=0)
    second.release()
    assert (await queue.get_many(4)).bodies == [0, 1, 2, 3]


async def test_priority_goes_first_and_a_body_is_never_compared() -> None:
    queue = Bus().queue("q", Policy(Priority()))
    for body, priority in (({}, 0), (object(), -3), ([], 1 << 70), (None, 0), ("x", 1 << 70)):
        await queue.put(body, priority=priority)
    assert [m.priority for m in queue.peek(9)] == [1 << 70, 1 << 70, 0, 0, -3]
    batch = await queue.get_many(9)
    assert batch.bodies[:2] == [[], "x"]
    batch[1].nack(delay=0)
    batch[0].release()
    assert (await queue.get_many(9)).bodies == [[], "x"]


@pytest.mark.parametrize("order", [Keyed(2, partitioner=lambda key: int(key)), Keyed()])
async def test_one_message_of_a_lane_is_out_at_a_time(order: Any) -> None:
    queue = Bus().queue("q", Policy(order))
    await queue.put_many(["0a", "0b", "1a", "0c"], key=lambda body: body[0])
    batch = await queue.get_many(9)
    assert batch.bodies == ["0a", "1a"]
    batch[0].nack(delay=0)
    again = queue.get_nowait()
    assert again.body == "0a"
    again.ack()
    assert queue.get_nowait().body == "0b"
    with pytest.raises(EmptyError):
        queue.get_nowait()


async def test_lanes_are_served_in_turn() -> None:
    queue = Bus().queue("q", Policy(Keyed()))
    await queue.put_many(["hot"] * 5 + ["cold", "cool"], key=lambda body: body)
    served = []
    while queue.stats().ready:
        delivery = queue.get_nowait()
        served.append(delivery.body)
        delivery.ack()
    assert served == ["hot", "cold", "cool", "hot", "hot", "hot", "hot"]


async def test_a_message_without_a_key_is_its_own_lane() -> None:
    for order in (Keyed(1), Keyed()):
        queue = Bus().queue("q", Policy(order))
        await queue.put_many([1, 2, 3])
        assert (await queue.get_many(3)).bodies == [1, 2, 3]


async def test_an_ack_in_a_lane_wakes_whoever_waits_for_it() -> None:
    queue = Bus().queue("q", Policy(Keyed()))
    await queue.put_many([1, 2], key="k")
    first = await queue.get()
    got = []

    async def receive() -> None:
        got.append((await queue.get()).body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        assert not got
        first.ack()
    assert got == [2]


# looking and managing


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()])
async def test_peek_shows_what_is_ready_and_takes_nothing(order: Any) -> None:
    queue = Bus().queue("q", Policy(order))
    await queue.put_many(range(5))
    assert [m.body for m in queue.peek()] == [0]
    assert [m.body for m in queue.peek(3)] == [0, 1, 2]
    assert [m.body for m in queue.peek(99)] == [0, 1, 2, 3, 4]
    assert queue.stats().ready == 5
    assert queue.get_nowait().attempt == 1


async def test_peek_of_an_empty_queue_is_empty() -> None:
    assert Bus().queue("q").peek(3) == []


@pytest.mark.parametrize("order", ORDERS)
async def test_purge_throws_away_what_is_ready_and_leaves_what_is_out(order: Any) -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(order))
    await queue.put_many(range(5), key=str)
    held = queue.get_nowait()
    assert queue.purge() == 4
    assert queue.purge() == 0
    held.nack(delay=0)
    assert rest(queue) == [held.body]
    assert queue.stats().purged == 4
    bus._engine.check()


async def test_purge_makes_room_and_ends_a_join() -> None:
    queue = Bus().queue("q", Policy(capacity=1))
    await queue.put(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.put, 2)
        await turns()
        queue.purge()
        await turns()
        assert rest(queue) == [2]
        tasks.start_soon(queue.join)
        await turns()
        queue.purge()


@pytest.mark.parametrize("order", ORDERS)
async def test_cancel_withdraws_what_is_ready_and_nothing_else(order: Any) -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(order, overflow=Overflow.DROP_OLDEST))
    out, *offsets = await queue.put_many(range(4), key=str)
    held = await queue.get()
    assert held.offset == out
    assert not queue.cancel(out)
    assert queue.cancel(offsets[1])
    assert not queue.cancel(offsets[1])
    assert not queue.cancel(12345)
    assert rest(queue) == [1, 3]
    held.release()
    assert queue.cancel(out)
    assert queue.stats().purged == 2
    bus._engine.check()


async def test_cancel_withdraws_what_is_reserved() -> None:
    queue = Bus().queue("q")
    offsets = await queue.put_many(range(3))
    async with queue.consume(10) as consumer:
        await anext(consumer)
        assert queue.cancel(offsets[1])
        assert (await anext(consumer)).body == 2


async def test_a_paused_queue_takes_puts_and_delivers_nothing() -> None:
    bus = Bus()
    queue = bus.queue("q")
    got: list[Any] = []

    async def work() -> None:
        async with queue.consume() as consumer:
            async for delivery in consumer:
                got.append(delivery.body)
                delivery.ack()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await turns()
        queue.pause()
        queue.pause()
        await queue.put_many([1, 2])
        await queue.put(3)
        await turns()
        assert not got
        with pytest.raises(EmptyError):
            queue.get_nowait()
        bus._engine.check()
        queue.resume()
        await turns()
        assert got == [1, 2, 3]
        queue.resume()
        await queue.put(4)
        await turns()
        assert got == [1, 2, 3, 4]
        tasks.cancel_scope.cancel()


async def test_pausing_takes_back_what_is_reserved() -> None:
    queue = Bus().queue("q")
    await queue.put_many(range(3))
    async with queue.consume(10) as consumer:
        await anext(consumer)
        queue.pause()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(consumer)
        assert scope.cancelled_caught
        queue.resume()
        assert (await anext(consumer)).body == 1


async def test_join_waits_until_all_is_settled() -> None:
    queue = Bus().queue("q")
    await queue.join()
    await queue.put_many([1, 2, 3])
    joined = []

    async def join(name: str) -> None:
        await queue.join()
        joined.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join, "a")
        tasks.start_soon(join, "b")
        batch = await queue.get_many(3)
        await turns()
        batch[0].ack()
        batch[1].nack(delay=0)
        batch[2].reject()
        await turns()
        assert not joined
        (await queue.get()).ack()
        await turns()
        assert sorted(joined) == ["a", "b"]


async def test_a_cancelled_join_is_forgotten() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.join)
        await turns()
        tasks.cancel_scope.cancel()
    (await queue.get()).ack()
    await queue.join()
    bus._engine.check()


async def test_stats_count_everything() -> None:
    clock = ManualClock()
    bus = Bus(clock=clock)
    queue = bus.queue("q", Policy(capacity=6, overflow=Overflow.DROP_NEWEST))
    await queue.put_many(range(7))
    clock.advance(3)
    deliveries = await queue.get_many(4)
    deliveries[0].ack()
    deliveries[1].nack(delay=0)
    deliveries[2].reject()
    queue.cancel(6)
    async with queue.consume() as consumer:
        await anext(consumer)
        assert queue.stats() == QueueStats(
            published=7, ready=1, delayed=0, out=2, acked=1, failed=2, redelivered=1, dead=1, dropped=1, purged=1,
            lag=0, peak=6, oldest=3.0, consumers=1, waiting_putters=0,
        )  # fmt: skip


async def test_oldest_is_the_age_of_what_waits_longest_and_never_negative() -> None:
    clock = ManualClock()
    queue = Bus(clock=clock).queue("q", Policy(Priority()))
    assert queue.stats().oldest is None
    await queue.put(1)
    clock.advance(5)
    await queue.put(2, priority=9)
    assert queue.stats().oldest == 5.0
    (await queue.get()).ack()
    held = await queue.get()
    assert queue.stats().oldest is None
    clock.advance(5)
    held.release()
    assert queue.stats().oldest == 10.0
    clock._now -= 100
    assert queue.stats().oldest == 0.0


async def test_oldest_counts_what_is_reserved() -> None:
    clock = ManualClock()
    queue = Bus(clock=clock).queue("q")
    await queue.put_many([1, 2])
    clock.advance(1)
    await queue.put(3)
    async with queue.consume(10) as consumer:
        await anext(consumer)
        assert queue.stats().oldest == 1.0


async def test_a_handle_names_itself_and_its_policy() -> None:
    bus = Bus()
    policy = Policy(Keyed())
    queue, subscription = bus.queue("q", policy), bus.topic("t").subscription("s")
    assert (queue.name, queue.policy, repr(queue)) == ("q", policy, "<Queue 'q'>")
    assert (subscription.name, repr(subscription)) == ("t/s", "<Subscription 't/s'>")


async def test_a_put_that_waits_five_seconds_with_no_consumer_attached_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trio = pytest.importorskip("trio.testing")

    async def main(consumers: int) -> None:
        queue = Bus().queue("q", Policy(capacity=1))
        await queue.put(1)
        async with anyio.create_task_group() as tasks, queue.consume() as consumer:
            if not consumers:
                await consumer.__aexit__(None, None, None)
            tasks.start_soon(queue.put, 2)
            await anyio.sleep(4.9)
            assert not caplog.records
            await anyio.sleep(30)
            tasks.cancel_scope.cancel()

    from anyio.to_thread import run_sync

    for consumers in (1, 0):
        options = {"clock": trio.MockClock(autojump_threshold=0)}
        await run_sync(partial(anyio.run, main, consumers, backend="trio", backend_options=options))
        assert len(caplog.records) == 1 - consumers
    [record] = caplog.records
    assert (record.name, record.levelname) == ("eventbus", "WARNING")
    assert record.getMessage() == "a put waits since 5 s for room in queue 'q': no consumer is attached"


async def test_a_put_that_waits_says_nothing_when_a_consumer_came_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    trio = pytest.importorskip("trio.testing")

    async def main() -> None:
        queue = Bus().queue("q", Policy(capacity=1))
        await queue.put(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue.put, 2)
            await anyio.sleep(1)
            async with queue.consume():
                await anyio.sleep(30)
            tasks.cancel_scope.cancel()

    from anyio.to_thread import run_sync

    clock = trio.MockClock(autojump_threshold=0)
    await run_sync(lambda: anyio.run(main, backend="trio", backend_options={"clock": clock}))
    assert not caplog.records


# binding


async def test_a_queue_may_be_bound_and_unbound() -> None:
    bus = Bus()
    queue, topic = bus.queue("q"), bus.topic("a.b")
    await topic.publish(0)
    queue.bind("a.b")
    await topic.publish(1)
    queue.bind(["a.*", "c"], where="body > 2")
    await bus.topic("a.x").publish_many([2, 3])
    await bus.topic("c").publish_many([2, 4])
    queue.unbind("a.b")
    await topic.publish_many([1, 5])
    queue.unbind(["a.*", "c"])
    await topic.publish(6)
    assert rest(queue) == [1, 3, 4, 5]
    assert type(queue) is Queue


async def test_bound_by_several_patterns_a_message_comes_once_if_any_filter_wants_it() -> None:
    bus = Bus()
    queue, topic = bus.queue("q"), bus.topic("a.b")
    queue.bind("a.b", where="body > 5")
    queue.bind("a.*", where="body < 3")
    await topic.publish_many(range(8))
    assert rest(queue) == [0, 1, 2, 6, 7]
    queue.bind("#")
    await topic.publish_many(range(8))
    assert rest(queue)[5:] == list(range(8))


async def test_bound_again_a_topic_gets_the_new_filter() -> None:
    bus = Bus()
    queue, topic = bus.queue("q"), bus.topic("t")
    queue.bind("t", where="body > 5")
    queue.bind("t", where=msg.body < 2)
    await topic.publish_many(range(8))
    assert rest(queue) == [0, 1]
    queue.bind("t")
    await topic.publish(7)
    assert rest(queue) == [0, 1, 7]
    bus._engine.check()


async def test_unbinding_what_is_not_bound_names_what_is() -> None:
    bus = Bus()
    queue = bus.queue("q")
    queue.bind(["a", "b"])
    with pytest.raises(DeclarationError, match=r"'q' is not bound to 'c'; it is bound to \['a', 'b'\]") as caught:
        queue.unbind(["a", "c"])
    assert (caught.value.name, caught.value.declared, caught.value.requested) == ("q", ["a", "b"], ["a", "c"])
    await bus.topic("a").publish(1)
    assert rest(queue) == [1]
    with pytest.raises(DeclarationError):
        bus.queue("other").unbind("a")


async def test_unbinding_frees_a_publisher_that_waits_for_room_there() -> None:
    bus = Bus()
    queue, topic = bus.queue("q", Policy(capacity=1)), bus.topic("t")
    queue.bind("t")
    await topic.publish(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(topic.publish, 2)
        await turns()
        assert queue.stats().waiting_putters == 1
        queue.unbind("t")
    assert rest(queue) == [1]
    assert queue.stats().waiting_putters == 0
    bus._engine.check()


# subscriptions


async def test_a_subscription_is_a_queue_and_gets_what_comes_from_now_on() -> None:
    bus = Bus()
    topic = bus.topic("t", retain=Retention(10))
    await topic.publish(1)
    subscription = topic.subscription("s")
    await topic.publish(2)
    assert isinstance(subscription, Subscription)
    assert rest(subscription) == [2]
    assert topic.subscription("s") is subscription
    assert bus.queue("t/s") is subscription


async def test_a_private_subscription_is_gone_when_its_last_consumer_closes() -> None:
    bus = Bus()
    topic = bus.topic("t")
    subscription = topic.subscription()
    other = topic.subscription()
    assert subscription.name != other.name
    await topic.publish(1)
    assert rest(subscription) == rest(other) == [1]
    async with subscription.consume() as first:
        async with subscription.consume():
            pass
        assert subscription.name in bus.stats().queues
        assert (await anext(first)).body == 1
    assert subscription.name not in bus.stats().queues
    assert other.name in bus.stats().queues
    with pytest.raises(ClosedError, match="is closed"):
        await subscription.get()
    assert await topic.publish(2)
    bus._engine.check()


async def test_a_private_subscription_is_gone_at_the_end_of_its_block() -> None:
    bus = Bus()
    async with bus.topic("t").subscription() as subscription:
        assert subscription.name in bus.stats().queues
    assert subscription.name not in bus.stats().queues
    await subscription.__aexit__(None, None, None)


async def test_a_shared_subscription_outlives_its_block_and_its_consumers() -> None:
    bus = Bus()
    async with bus.topic("t").subscription("s") as subscription, subscription.consume():
        pass
    assert "t/s" in bus.stats().queues


async def test_a_private_name_is_nobody_elses() -> None:
    bus = Bus()
    topic = bus.topic("t")
    taken = [topic.subscription(f"private-{number}").name for number in range(1, 4)]
    private = [topic.subscription().name for _ in range(3)]
    assert len({*taken, *private}) == 6


async def test_a_private_subscription_of_the_longest_topic_has_a_name_all_the_same() -> None:
    topic = Bus().topic("t" * 255)
    subscription = topic.subscription()
    await topic.publish(1)
    assert rest(subscription) == [1]


async def test_unsubscribing_ends_everything_and_is_harmless_when_done_twice() -> None:
    bus = Bus()
    topic = bus.topic("t")
    subscription = topic.subscription("s", Policy(capacity=1))
    await topic.publish(1)
    ended = []

    async def get() -> None:
        with pytest.raises(ClosedError, match="'t/s'"):
            await subscription.get()
        ended.append("get")

    async def publish() -> None:
        await topic.publish_many([2, 3])
        ended.append("publish")

    async def join() -> None:
        with pytest.raises(ClosedError):
            await subscription.join()
        ended.append("join")

    held = await subscription.get()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join)
        tasks.start_soon(get)
        await turns()
        subscription.pause()
        tasks.start_soon(publish)
        await turns()
        assert ended == []
        await subscription.unsubscribe()
        await turns()
        assert sorted(ended) == ["get", "join", "publish"]
    assert held.settled
    await subscription.unsubscribe()
    assert "t/s" not in bus.stats().queues
    for call in (subscription.put(1), subscription.get(), subscription.get_many(1), subscription.join()):
        with pytest.raises(ClosedError):
            await call
    with pytest.raises(ClosedError):
        subscription.bind("t")
    with pytest.raises(ClosedError):
        subscription.stats()
    bus._engine.check()


async def test_after_unsubscribing_the_name_is_free() -> None:
    bus = Bus()
    topic = bus.topic("t")
    old = topic.subscription("s")
    await topic.publish(1)
    await old.unsubscribe()
    new = topic.subscription("s", Policy(Priority()), where="body > 1")
    assert new is not old
    await topic.publish_many([1, 2])
    assert rest(new) == [2]
    await old.unsubscribe()
    assert "t/s" in bus.stats().queues


# seeking


async def retained(count: int = 5) -> tuple[Bus, Any, Subscription[Any]]:
    bus = Bus(clock=ManualClock(0.0))
    topic = bus.topic("t", retain=Retention(count))
    return bus, topic, topic.subscription("s")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (EARLIEST, [0, 1, 2, 3, 4, 5]),
        (LATEST, []),
        (4, [3, 4, 5]),
        (0, [0, 1, 2, 3, 4, 5]),
        (-7, [0, 1, 2, 3, 4, 5]),
        (99, []),
        (datetime.fromtimestamp(2.0, UTC), [2, 3, 4, 5]),
        (datetime.fromtimestamp(2.5, UTC), [3, 4, 5]),
        (datetime.fromtimestamp(2.0), [2, 3, 4, 5]),
        (datetime.fromtimestamp(77.0, UTC), []),
    ],
)
async def test_seek_goes_anywhere_in_what_is_retained(start: Any, expected: list[int]) -> None:
    bus, topic, subscription = await retained(10)
    for body in range(6):
        await topic.publish(body)
        bus._host.clock.advance(1)  # type: ignore[attr-defined]
    (await subscription.get()).ack()
    await subscription.seek(start)
    assert rest(subscription) == expected
    await topic.publish("next")
    assert rest(subscription) == [*expected, "next"]
    bus._engine.check()


async def test_seek_gives_what_the_retention_still_has() -> None:
    bus, topic, subscription = await retained(3)
    await topic.publish_many(range(6))
    await subscription.get_many(4)
    await subscription.seek(EARLIEST)
    assert [(d.body, d.attempt) for d in await subscription.get_many(9)] == [(3, 1), (4, 1), (5, 1)]
    stats = subscription.stats()
    assert stats.published == stats.acked + stats.purged + stats.ready + stats.out
    assert stats.purged == 6
    bus._engine.check()


@pytest.mark.parametrize("order", [*ORDERS, Keyed(3, sticky=True)])
async def test_seek_in_every_order_filters_and_goes_beyond_the_capacity(order: Any) -> None:
    bus = Bus()
    topic = bus.topic("t", retain=Retention(1000))
    policy = Policy(order, capacity=5, overflow=Overflow.DROP_NEWEST)
    subscription = topic.subscription("s", policy, where="body != 300")
    await topic.publish_many(range(600), key=str)
    await subscription.seek(EARLIEST)
    assert sorted(rest(subscription)) == [body for body in range(600) if body != 300]
    bus._engine.check()


async def test_seek_reads_several_topics_in_one_order() -> None:
    bus = Bus()
    topics = [bus.topic(f"t.{index}", retain=Retention(10)) for index in range(3)]
    subscription = bus.subscription("s", "t.*")
    bus.topic("t.none")
    for body in range(9):
        await topics[body % 3].publish(body)
    await subscription.seek(EARLIEST)
    assert rest(subscription) == list(range(9))


async def test_seek_takes_from_consumers_and_wakes_those_who_wait() -> None:
    bus, topic, subscription = await retained()
    await topic.publish_many([1, 2])
    got = []
    async with subscription.consume(10) as consumer, anyio.create_task_group() as tasks:
        first = await anext(consumer)

        async def receive() -> None:
            got.append(await anext(consumer))

        await anext(consumer)
        tasks.start_soon(receive)
        await turns()
        assert not got
        await subscription.seek(EARLIEST)
        await turns()
        assert [d.body for d in got] == [1]
        assert first.settled
    bus._engine.check()


async def test_seek_makes_room_for_publishers() -> None:
    bus = Bus()
    topic = bus.topic("t", retain=Retention(1))
    subscription = topic.subscription("s", Policy(capacity=2))
    await topic.publish_many([1, 2])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(topic.publish, 3)
        await turns()
        assert subscription.stats().waiting_putters == 1
        await subscription.seek(LATEST)
    assert rest(subscription) == [3]


async def test_seek_of_what_is_unbound_finds_nothing() -> None:
    _, topic, subscription = await retained()
    await topic.publish(1)
    subscription.unbind("t")
    await subscription.seek(EARLIEST)
    assert rest(subscription) == []


async def test_seek_ends_a_join_that_waits_for_what_was_out() -> None:
    _, topic, subscription = await retained()
    await topic.publish(1)
    await subscription.get()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(subscription.join)
        await turns()
        await subscription.seek(LATEST)
