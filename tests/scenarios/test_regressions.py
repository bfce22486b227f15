"""Bugs that were found by attack, each as small as it can be shown."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from eventbus import EARLIEST, Bus, ClosedError, Fifo, Keyed, Observer, Overflow, Policy, Retention
from eventbus._core.leases import Lease
from eventbus.blocking import Bus as BlockingBus
from eventbus.delivery import Delivery
from tests.scenarios.conservation import intact


class Acking(set[Lease]):
    """A set that loses what is in it the moment somebody counts it: acks in another thread, which take no lock."""

    def __len__(self) -> int:
        count = super().__len__()
        while super().__len__():
            delivery: Any = self.pop()
            queue = delivery._holder.queue
            if queue.alert:
                queue.after_ack(delivery)
        return count


@pytest.mark.parametrize("join", ["queue", "bus"])
def test_an_ack_while_a_join_looks_wakes_it(join: str) -> None:
    with BlockingBus() as bus:
        queue = bus.queue("q")
        with queue.consume() as consumer:
            queue.put(1)
            next(consumer)
            holder = consumer._holder
            holder.out = Acking(holder.out)
            (queue if join == "queue" else bus).join(timeout=10)


def test_a_join_that_was_told_that_all_is_settled_believes_it() -> None:
    """In a steady flow, what came since must not make it wait for ever."""
    with BlockingBus() as bus:
        queue = bus.queue("q")
        queue.put(1)
        thread = threading.Thread(target=queue.join, daemon=True)
        thread.start()
        while not len(queue._state.joiners):
            threading.Event().wait(0.001)
        with bus._engine.lock:
            queue.get().ack()
            queue.put(2)
        thread.join(10)
        assert not thread.is_alive()
        intact(bus)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [Fifo(), Keyed()], ids=["fifo", "keyed"])
def test_a_dead_letter_enters_after_what_pushed_it_out(order: Any) -> None:
    bus = BlockingBus()
    graves = bus.queue("graves", Policy(order))
    small = Policy(capacity=1, overflow=Overflow.DROP_OLDEST, dead_letter="graves")
    for queue in (bus.queue("small", small), graves):
        queue.bind("t")
    bus.observe(Observer())
    for number in range(4):
        bus.topic("t").publish(number)
    offsets = [message.offset for message in graves.peek(99)]
    assert offsets == sorted(offsets)
    assert all(graves.cancel(offset) for offset in offsets)
    intact(bus)  # type: ignore[arg-type]


def test_of_two_seeks_at_once_the_later_counts() -> None:
    bus = BlockingBus()
    topic = bus.topic("t", retain=Retention(count=1_000))
    asked = 0

    def where(message: object) -> bool:
        nonlocal asked
        asked += 1
        if asked == 300:  # the second page of the first seek
            subscription.seek(EARLIEST)
        return True

    subscription = topic.subscription("s", where=where)
    topic.publish_many(list(range(600)))
    asked = 0
    subscription.seek(EARLIEST)
    assert [message.body for message in subscription.peek(2_000)] == list(range(600))
    intact(bus)  # type: ignore[arg-type]


def test_a_delivery_acked_while_its_batch_is_settles_its_lane_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = BlockingBus()
    queue = bus.queue("q", Policy(Keyed()))
    queue.put_many(["a1", "b1", "a2", "b2"], key=lambda body: body[0])
    batch = queue.get_many(2)
    after_ack = type(queue._state).after_ack

    def meanwhile(state: Any, delivery: Delivery[Any]) -> None:
        monkeypatch.undo()
        after_ack(state, delivery)
        batch[1].ack()

    monkeypatch.setattr(type(queue._state), "after_ack", meanwhile)
    batch.ack()
    assert queue.get_many(9).bodies == ["a2", "b2"]
    intact(bus)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["s", None])
def test_a_subscription_whose_past_cannot_be_read_is_not_half_declared(name: str | None) -> None:
    bus = BlockingBus()
    topic = bus.topic("t", retain=Retention(count=10))
    topic.publish(1, key="bad")

    def partitioner(key: bytes) -> int:
        raise ArithmeticError(key)

    policy = Policy(Keyed(partitions=2, partitioner=partitioner))
    with pytest.raises(ArithmeticError):
        topic.subscription(name, policy, start=EARLIEST)
    assert not bus.stats().queues


def test_bodies_are_let_go_outside_the_lock() -> None:
    class Body:
        def __del__(self) -> None:
            held.append((end, bus._engine.lock._is_owned()))  # type: ignore[attr-defined]

    held: list[tuple[str, bool]] = []
    for end in ("close", "seek", "unsubscribe", "leave"):
        bus = BlockingBus()
        topic = bus.topic("t")
        subscription = topic.subscription("s")
        private = topic.subscription()
        consumer = private.consume().__enter__()
        for _ in range(3):
            topic.publish(Body())
        subscription.get()
        if end == "close":
            bus.close()
        elif end == "seek":
            subscription.seek(EARLIEST)
        elif end == "unsubscribe":
            subscription.unsubscribe()
        consumer.__exit__(None, None, None)
        bus.close()
        gc.collect()
    assert len(held) == 12
    assert not [end for end, under_lock in held if under_lock]


def test_nothing_is_dropped_for_room_that_a_handout_has_just_made(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = BlockingBus()
    queue = bus.queue("q", Policy(capacity=2, overflow=Overflow.DROP_OLDEST))
    queue.put_many([1, 2])
    with queue.consume(prefetch=2) as consumer:
        next(consumer)
        queue.put(3)
        reclaim = type(queue._state).reclaim

        def meanwhile(*args: Any) -> bool:
            next(consumer)
            return reclaim(*args)

        monkeypatch.setattr(type(queue._state), "reclaim", meanwhile)
        queue.put(4)
        assert queue.stats().dropped == 0
        monkeypatch.undo()
        intact(bus)  # type: ignore[arg-type]


def test_a_put_that_parks_looks_again_for_a_handout_that_looked_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = BlockingBus()
    queue = bus.queue("q", Policy(capacity=2))
    queue.put_many([1, 2])
    with queue.consume(prefetch=2) as consumer:
        next(consumer)
        queue.put(3)
        room = type(queue._state).room

        def meanwhile(state: Any) -> int:
            monkeypatch.undo()
            found = room(state)
            consumer._buffer.popleft()
            return found

        monkeypatch.setattr(type(queue._state), "room", meanwhile)
        queue.put(4, headers={"long": "way"}, timeout=0)
        intact(bus)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_what_a_closed_consumer_lent_keeps_no_task() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        await queue.put(1)
        async with queue.consume() as consumer:
            delivery = await anext(consumer)
            delivery.ack()
        assert delivery._holder.party is None


def test_an_engine_in_use_by_nobody_keeps_no_ended_loop() -> None:
    import anyio

    bus = Bus()

    async def main() -> None:
        async with bus.queue("q").consume():
            pass

    for _ in range(5):
        anyio.run(main)
    assert len(bus._ports.by_native) <= 1
    bus.blocking.close()
    with pytest.raises(ClosedError):
        bus.stats()
