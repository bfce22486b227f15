"""A delivery has one life: the whole transition table, the context managers, and batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import anyio
import attrs
import pytest

from eventbus import (
    Backoff,
    Batch,
    Bus,
    ClosedError,
    Delivery,
    Keyed,
    Message,
    Policy,
    Queue,
    Retry,
    SettlementError,
    StaleDeliveryError,
)
from tests.kit import ManualClock, turns

pytestmark = pytest.mark.anyio

AT_ONCE = Policy(retry=Retry(backoff=Backoff(first=0)))

CALLS = ("ack", "nack", "release", "reject")


def lend(queue: Queue[Any], body: Any = "b", **options: Any) -> Delivery[Any]:
    queue.put_nowait(body, **options)
    return queue.get_nowait()


def counts(queue: Queue[Any]) -> tuple[int, ...]:
    stats = queue.stats()
    return stats.acked, stats.ready, stats.out, stats.failed, stats.dead


# what it is


async def test_a_delivery_is_its_message_and_where_it_came_from() -> None:
    bus = Bus(clock=ManualClock(5.0))
    queue = bus.queue("q", Policy(Keyed(4)))
    delivery = lend(queue, "b", key="k", headers={"h": 1}, priority=2, id="i")
    assert (delivery.body, delivery.key, delivery.headers, delivery.topic) == ("b", "k", {"h": 1}, "q")
    assert delivery.message == Message(
        "b", topic="q", key="k", headers={"h": 1}, priority=2, id="i", time=5.0, offset=delivery.offset
    )
    assert delivery.queue is queue
    assert delivery.bus is bus
    assert delivery.partition in range(4)


async def test_a_delivery_from_a_topic_names_the_topic() -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription("s")
    await bus.topic("t").publish("b")
    delivery = await subscription.get()
    assert (delivery.topic, delivery.queue.name) == ("t", "t/s")


async def test_attempts_count_deliveries_and_failures_count_failures() -> None:
    queue = Bus().queue("q", AT_ONCE)
    delivery = lend(queue)
    assert (delivery.attempt, delivery.failures, delivery.redelivered) == (1, 0, False)
    expected = [("release", 0), ("nack", 1), ("release", 1), ("nack", 2)]
    for attempt, (call, failures) in enumerate(expected, 2):
        getattr(delivery, call)()
        delivery = queue.get_nowait()
        assert (delivery.attempt, delivery.failures, delivery.redelivered) == (attempt, failures, True)
    assert queue.stats().redelivered == 4
    assert queue.stats().failed == 2


@pytest.mark.parametrize(
    ("call", "word"), [(None, "out"), ("ack", "ack"), ("nack", "nack"), ("release", "release"), ("reject", "reject")]
)
async def test_its_repr_says_where_it_stands(call: str | None, word: str) -> None:
    delivery = lend(Bus().queue("q", AT_ONCE))
    if call is not None:
        getattr(delivery, call)()
    assert repr(delivery) == f"<Delivery {delivery.offset} of 'q', attempt 1, {word}>"


# the transition table


@pytest.mark.parametrize(
    ("call", "after"),
    [("ack", (1, 0, 0, 0, 0)), ("nack", (0, 1, 0, 1, 0)), ("release", (0, 1, 0, 0, 0)), ("reject", (0, 0, 0, 1, 1))],
)
async def test_each_call_leads_where_the_table_says(call: str, after: tuple[int, ...]) -> None:
    queue = Bus().queue("q", AT_ONCE)
    delivery = lend(queue)
    assert not delivery.settled
    assert counts(queue) == (0, 0, 1, 0, 0)
    getattr(delivery, call)()
    assert delivery.settled
    assert counts(queue) == after


@pytest.mark.parametrize("call", CALLS)
async def test_repeating_the_same_call_is_harmless(call: str) -> None:
    bus = Bus()
    queue = bus.queue("q", AT_ONCE)
    delivery = lend(queue)
    getattr(delivery, call)()
    before = counts(queue)
    getattr(delivery, call)()
    getattr(delivery, call)()
    assert counts(queue) == before
    bus._engine.check()


@pytest.mark.parametrize("first", CALLS)
@pytest.mark.parametrize("second", CALLS)
async def test_a_different_second_call_is_refused_and_changes_nothing(first: str, second: str) -> None:
    if first == second:
        return
    queue = Bus().queue("q", AT_ONCE)
    delivery = lend(queue)
    getattr(delivery, first)()
    before = counts(queue)
    with pytest.raises(SettlementError, match=rf"settled with {first}\(\).*again with {second}\(\)") as caught:
        getattr(delivery, second)()
    assert not isinstance(caught.value, StaleDeliveryError)
    error = caught.value
    assert (error.queue, error.offset, error.settled, error.attempted) == ("q", delivery.offset, first, second)
    assert counts(queue) == before


@pytest.mark.parametrize("first", ["nack", "release"])
@pytest.mark.parametrize("second", CALLS)
async def test_an_old_delivery_does_not_touch_the_new_one_of_its_message(first: str, second: str) -> None:
    queue = Bus().queue("q", AT_ONCE)
    old = lend(queue)
    getattr(old, first)()
    new = queue.get_nowait()
    if first == second:
        getattr(old, second)()
    else:
        with pytest.raises(SettlementError):
            getattr(old, second)()
    assert not new.settled
    assert old.settled
    new.ack()
    assert queue.stats().acked == 1


@pytest.mark.parametrize("call", CALLS)
async def test_after_its_consumer_closed_a_delivery_is_stale(call: str) -> None:
    queue = Bus().queue("q", AT_ONCE)
    await queue.put("b")
    async with queue.consume() as consumer:
        delivery = await anext(consumer)
    assert delivery.settled
    before = counts(queue)
    with pytest.raises(StaleDeliveryError, match="no longer yours") as caught:
        getattr(delivery, call)()
    assert (caught.value.queue, caught.value.offset) == ("q", delivery.offset)
    assert (caught.value.settled, caught.value.attempted) == ("stale", call)
    assert counts(queue) == before == (0, 1, 0, 0, 0)


@pytest.mark.parametrize("call", CALLS)
async def test_after_a_seek_a_delivery_is_stale(call: str) -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription("s")
    await bus.topic("t").publish("b")
    delivery = await subscription.get()
    await subscription.seek(0)
    with pytest.raises(StaleDeliveryError):
        getattr(delivery, call)()
    assert "stale" in repr(delivery)
    bus._engine.check()


@pytest.mark.parametrize("call", CALLS)
async def test_after_unsubscribing_a_delivery_is_stale(call: str) -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription("s")
    await bus.topic("t").publish("b")
    delivery = await subscription.get()
    await subscription.unsubscribe()
    with pytest.raises(StaleDeliveryError):
        getattr(delivery, call)()


@pytest.mark.parametrize("call", CALLS)
async def test_after_the_bus_closed_settling_is_refused(call: str) -> None:
    bus = Bus()
    queue = bus.queue("q", AT_ONCE)
    delivery = lend(queue)
    await bus.aclose()
    assert delivery.settled
    with pytest.raises(ClosedError):
        getattr(delivery, call)()
    assert "closed" in repr(delivery)


@pytest.mark.parametrize("call", CALLS)
async def test_what_was_settled_before_the_end_may_be_settled_alike_after_it(call: str) -> None:
    bus = Bus()
    delivery = lend(bus.queue("q", AT_ONCE))
    getattr(delivery, call)()
    await bus.aclose()
    getattr(delivery, call)()


# errors that are told


@pytest.mark.parametrize(
    ("reason", "text"),
    [(None, None), ("broken", "broken"), (ValueError("no"), "ValueError: no"), (KeyError(), "KeyError: ")],
)
async def test_a_rejection_keeps_its_reason(reason: Any, text: str | None) -> None:
    clock = ManualClock(100.0)
    bus = Bus(clock=clock)
    queue = bus.queue("q", AT_ONCE)
    delivery = lend(queue, "b", key="k", headers={"h": 1})
    clock.advance(5)
    delivery.reject(reason)
    letter = bus.dead_letters.get_nowait()
    assert (letter.body, letter.key, letter.headers) == ("b", "k", {"h": 1})
    assert letter.offset > delivery.offset
    [death] = letter.message.deaths
    assert (death.queue, death.reason, death.offset, death.attempts) == ("q", "rejected", delivery.offset, 1)
    assert (death.error, death.first_time, death.time) == (text, 100.0, 105.0)


# with delivery


async def test_with_a_delivery_acks_on_success() -> None:
    queue = Bus().queue("q", AT_ONCE)
    with lend(queue) as delivery:
        assert delivery.body == "b"
    assert counts(queue) == (1, 0, 0, 0, 0)


async def test_with_a_delivery_nacks_on_an_exception_and_lets_it_through() -> None:
    queue = Bus().queue("q", AT_ONCE)
    with pytest.raises(ValueError, match="no"), lend(queue):
        raise ValueError("no")
    assert counts(queue) == (0, 1, 0, 1, 0)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_with_a_delivery_releases_on_any_other_end(kind: type[BaseException]) -> None:
    queue = Bus().queue("q", AT_ONCE)
    for manager in (lambda d: d, lambda d: d.contain()):
        with pytest.raises(kind), manager(lend(queue)):
            raise kind
        assert counts(queue) == (0, 1, 0, 0, 0)
        queue.purge()


@pytest.mark.parametrize("contained", [False, True])
async def test_a_cancelled_task_releases_what_it_works_on(contained: bool) -> None:
    queue = Bus().queue("q", AT_ONCE)
    await queue.put("b")

    async def work() -> None:
        delivery = await queue.get()
        with delivery.contain() if contained else delivery:
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await turns()
        assert queue.stats().out == 1
        tasks.cancel_scope.cancel()
    assert counts(queue) == (0, 1, 0, 0, 0)
    again = queue.get_nowait()
    assert (again.attempt, again.failures) == (2, 0)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fails", [False, True])
async def test_with_a_delivery_that_was_settled_inside_nothing_is_done(call: str, fails: bool) -> None:
    queue = Bus().queue("q", AT_ONCE)
    delivery = lend(queue)
    try:
        with delivery:
            getattr(delivery, call)()
            before = counts(queue)
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert counts(queue) == before


async def test_with_a_delivery_that_went_elsewhere_success_is_refused() -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription("s")
    await bus.topic("t").publish("b")
    with pytest.raises(StaleDeliveryError), await subscription.get():
        await subscription.seek(0)


async def test_with_a_delivery_that_went_elsewhere_a_failure_goes_through_unchanged() -> None:
    bus = Bus()
    queue = bus.queue("q", AT_ONCE)

    async def fail() -> None:
        with lend(queue):
            await bus.aclose()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await fail()


async def test_contain_logs_an_exception_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    queue = Bus().queue("q", AT_ONCE)
    delivery = lend(queue)
    with delivery.contain() as same:
        assert same is delivery
        raise ValueError("no")
    assert counts(queue) == (0, 1, 0, 1, 0)
    [record] = caplog.records
    assert record.name == "eventbus"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"delivery {delivery.offset} of queue 'q', attempt 1, failed"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


async def test_contain_acks_on_success_and_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    queue = Bus().queue("q", AT_ONCE)
    with lend(queue).contain():
        pass
    assert counts(queue) == (1, 0, 0, 0, 0)
    assert not caplog.records


async def test_contain_goes_on_after_a_delivery_that_went_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription("s")
    await bus.topic("t").publish("b")
    with (await subscription.get()).contain():
        await subscription.seek(0)
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], StaleDeliveryError)


async def test_a_loop_that_contains_survives_every_message(caplog: pytest.LogCaptureFixture) -> None:
    queue = Bus().queue("q", AT_ONCE)
    await queue.put_many([0, 1, 2, 3])
    done = []
    async with queue.consume(until_empty=True) as consumer:
        async for delivery in consumer:
            with delivery.contain():
                if delivery.body % 2 and delivery.failures == 0:
                    raise ValueError(delivery.body)
                done.append(delivery.body)
    assert done == [0, 1, 2, 3]
    assert counts(queue) == (4, 0, 0, 2, 0)
    assert len(caplog.records) == 2


# batches


async def batch_of(queue: Queue[Any], count: int) -> Batch[Any]:
    await queue.put_many(range(count))
    return await queue.get_many(count)


async def test_a_batch_is_a_sequence_of_deliveries() -> None:
    batch = await batch_of(Bus().queue("q", AT_ONCE), 3)
    assert isinstance(batch, Sequence)
    assert len(batch) == 3
    assert batch.bodies == [0, 1, 2]
    assert [delivery.body for delivery in batch] == [0, 1, 2]
    assert [delivery.body for delivery in reversed(batch)] == [2, 1, 0]
    assert batch[0].body == 0
    assert batch[-1].body == 2
    assert [delivery.body for delivery in batch[1:]] == [1, 2]
    assert batch[1] in batch
    assert batch.index(batch[2]) == 2
    with pytest.raises(IndexError):
        batch[3]


@pytest.mark.parametrize("order", [None, Keyed()])
@pytest.mark.parametrize(
    ("call", "after"),
    [("ack", (3, 0, 0, 0, 0)), ("nack", (0, 3, 0, 3, 0)), ("release", (0, 3, 0, 0, 0)), ("reject", (0, 0, 0, 3, 3))],
)
async def test_a_batch_is_settled_whole(call: str, after: tuple[int, ...], order: Any) -> None:
    bus = Bus()
    queue = bus.queue("q", AT_ONCE if order is None else attrs.evolve(AT_ONCE, order=order))
    batch = await batch_of(queue, 3)
    getattr(batch, call)()
    assert counts(queue) == after
    getattr(batch, call)()
    assert counts(queue) == after
    bus._engine.check()


@pytest.mark.parametrize("call", CALLS)
async def test_what_was_settled_alike_before_its_batch_is_harmless(call: str) -> None:
    queue = Bus().queue("q", AT_ONCE)
    batch = await batch_of(queue, 3)
    getattr(batch[1], call)()
    getattr(batch, call)()
    assert all(delivery.settled for delivery in batch)
    assert queue.stats().out == 0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("first", CALLS)
async def test_a_batch_settles_all_that_is_out_and_then_raises_what_the_others_say(call: str, first: str) -> None:
    if call == first:
        return
    bus = Bus()
    queue = bus.queue("q", AT_ONCE)
    batch = await batch_of(queue, 3)
    getattr(batch[1], first)()
    with pytest.raises(SettlementError) as caught:
        getattr(batch, call)()
    assert (caught.value.offset, caught.value.attempted) == (batch[1].offset, call)
    assert queue.stats().out == 0
    word = {"ack": "ack", "nack": "nack", "release": "release", "reject": "reject"}[call]
    assert all(repr(batch[index]).endswith(f", {word}>") for index in (0, 2))
    bus._engine.check()


@pytest.mark.parametrize("call", ["nack", "reject"])
async def test_a_batchs_error_is_each_deliverys(call: str) -> None:
    bus = Bus()
    queue = bus.queue("q", AT_ONCE)
    batch = await batch_of(queue, 2)
    if call == "nack":
        batch.nack(delay=0, error="why")
        assert queue.stats().failed == 2
    else:
        batch.reject("why")
        assert [m.deaths[0].error for m in bus.dead_letters.peek(5)] == ["why", "why"]


async def test_a_batch_that_went_elsewhere_is_stale() -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription("s")
    await bus.topic("t").publish_many([1, 2])
    batch = await subscription.get_many(2)
    await subscription.unsubscribe()
    for call in CALLS:
        with pytest.raises(StaleDeliveryError):
            getattr(batch, call)()
