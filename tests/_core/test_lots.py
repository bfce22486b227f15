"""Batches lent whole: acked at once, parted by whatever treats one message by itself, counted like all others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eventbus import Bus, Keyed, Observer, Policy, Priority, SettlementError, StaleDeliveryError
from eventbus._core.fifo import BUNDLED
from eventbus._core.lots import Chunk
from eventbus.blocking import Bus as BlockingBus
from eventbus.blocking import Queue
from eventbus.delivery import Batch
from eventbus.message import NO_HEADERS
from tests.scenarios.conservation import intact


def filled(count: int = 4, policy: Policy | None = None) -> tuple[Bus, Queue[Any]]:
    bus = Bus()
    queue = bus.blocking.queue("q", policy)
    queue.put_many(list(range(count)))
    return bus, queue


def whole(queue: Queue[Any]) -> int:
    """How many lots are out that nobody has parted."""
    return sum(len(holder.lots) for holder in queue._state.all_holders())


@pytest.mark.parametrize("policy", [None, Policy(Priority())], ids=["fifo", "priority"])
def test_a_batch_is_acked_whole_whether_its_deliveries_were_looked_at_or_not(policy: Policy | None) -> None:
    bus, queue = filled(4, policy)
    first, second = queue.get_many(2), queue.get_many(2)
    assert [delivery.body for delivery in second] == second.bodies == [2, 3]
    assert whole(queue) == 2
    intact(bus)
    for batch in (first, second):
        batch.ack()
    assert whole(queue) == 0
    assert all(delivery.settled for delivery in (*first, *second))
    assert queue.stats().acked == 4
    intact(bus)
    first.ack()
    with pytest.raises(SettlementError):
        second[1].nack()


@pytest.mark.parametrize(
    ("settle", "acked", "ready"),
    [
        (lambda batch: batch[1].ack(), 1, 0),
        (lambda batch: batch[1].release(), 0, 1),
        (lambda batch: batch[1].reject("no"), 0, 0),
        (lambda batch: batch.release(), 0, 3),
    ],
    ids=["ack", "release", "reject", "release all"],
)
def test_settling_one_parts_the_batch(settle: Callable[[Batch[Any]], None], acked: int, ready: int) -> None:
    bus, queue = filled(3)
    batch = queue.get_many(3)
    settle(batch)
    assert whole(queue) == 0
    assert (queue.stats().acked, queue.stats().ready) == (acked, ready)
    intact(bus)
    left = [delivery for delivery in batch if not delivery.settled]
    for delivery in left:
        delivery.ack()
    assert queue.stats().acked == acked + len(left)
    intact(bus)


def test_the_end_of_a_consumer_or_a_seek_or_the_bus_finds_what_is_in_lots() -> None:
    bus, queue = filled(4)
    batch = queue.get_many(3)
    assert queue.purge() == 1
    intact(bus)
    bus._engine.remove(queue._state)
    with pytest.raises(StaleDeliveryError):
        batch.ack()
    assert not any(lot for holder in queue._state.all_holders() for lot in holder.lots)


def test_an_observer_is_told_of_each_message_of_a_lot_that_was_lent_before_it_came() -> None:
    class Settled(Observer):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def settled(self, delivery: Any, outcome: str) -> None:
            self.seen.append(delivery.body)

    bus, queue = filled(3)
    batch = queue.get_many(3)
    observer = Settled()
    bus.observe(observer)
    batch.ack()
    assert observer.seen == [0, 1, 2]
    intact(bus)


def test_a_joiner_learns_of_the_ack_of_a_lot() -> None:
    queue = filled(3)[1]
    batch = queue.get_many(3)
    done = threading.Event()
    joiner = threading.Thread(target=lambda: (queue.join(), done.set()))
    joiner.start()
    while not len(queue._state.joiners):
        done.wait(0.001)
    assert not done.is_set()
    batch.ack()
    assert done.wait(10)
    joiner.join()


def test_a_lot_that_is_acked_while_its_holder_parts_it_is_acked() -> None:
    bus, queue = filled(3)
    batch = queue.get_many(3)
    holder = batch._lots[0].holder

    class Raced(set[Any]):
        """The last of it goes, in another thread, between the look and the pop."""

        def pop(self) -> Any:
            self.clear()
            raise KeyError

    holder.lots = Raced(holder.lots)
    holder.part()
    assert queue.stats().acked == 3
    intact(bus)


def test_batches_through_lanes_and_leases_are_parted_from_the_start() -> None:
    for policy in (Policy(Keyed(partitions=2)), Policy(lease=60.0)):
        bus = Bus()
        queue = bus.blocking.queue("q", policy)
        queue.put_many([1, 2, 3], key=str)
        batch = queue.get_many(2)
        assert whole(queue) == 0
        intact(bus)
        batch.ack()
        assert queue.stats().acked == len(batch)
        intact(bus)


def test_what_came_in_batches_keeps_its_place_among_what_came_singly_or_came_back() -> None:
    bus, queue = filled(4)
    queue.put(4)
    queue.put_many([5, 6])
    batch = queue.get_many(3)
    assert batch.bodies == [0, 1, 2]
    batch[1].release()
    assert [message.body for message in queue.peek(9)] == [1, 3, 4, 5, 6]
    intact(bus)
    assert queue.get_many(9).bodies == [1, 3, 4, 5, 6]
    intact(bus)


def test_a_delivery_of_a_batch_knows_its_message() -> None:
    bus = Bus()
    queue = bus.blocking.queue("q")
    offsets = queue.put_many(["a", "b"], key=lambda body: body * 2, headers={"h": 1}, priority=3)
    one, two = queue.get_many(2)
    assert [one.offset, two.offset] == offsets
    assert (two.key, two.headers, two.message.priority, two.attempt, two.redelivered) == ("bb", {"h": 1}, 3, 1, False)
    assert repr(one) == "<Delivery 1 of 'q', attempt 1, out>"


def test_two_threads_that_look_at_a_batch_see_the_same_deliveries() -> None:
    with BlockingBus() as bus:
        queue = bus.queue("q")
        for _ in range(50):
            queue.put_many(list(range(20)))
            batch = queue.get_many(20)
            with ThreadPoolExecutor(2) as pool:
                one, other = pool.map(list, [batch, batch])
            assert all(mine is yours for mine, yours in zip(one, other, strict=True))
            batch.ack()


def test_a_chunk_is_split_without_a_change_to_the_other() -> None:
    chunk = Chunk(5, ["a", "b", "c"], ["x", "y", "z"], (1.0, NO_HEADERS, 2, "q", None))
    head, rest = chunk.split(1)
    assert [*head.records, *rest.records] == chunk.records
    assert chunk.records[1] == (6, 1.0, "b", "y", NO_HEADERS, 2, "q", None, None)


def test_a_great_batch_lies_in_chunks_only_as_far_as_they_are_quickly_unpacked() -> None:
    bus, queue = filled(5_000)
    assert queue._state.backlog.chunked <= BUNDLED  # type: ignore[attr-defined]
    queue.put(5_000)
    assert [queue.get().body for _ in range(3)] == [0, 1, 2]
    batch = queue.get_many(5_000)
    assert batch.bodies == list(range(3, 5_001))
    batch.ack()
    intact(bus)


def test_what_came_in_a_batch_is_not_passed_by_after_takes_that_unpacked_the_batch_before() -> None:
    bus, queue = filled(2)
    assert [queue.get().body for _ in range(2)] == [0, 1]
    queue.put_many([2, 3])
    intact(bus)
    queue.put(4)
    assert [queue.get().body for _ in range(3)] == [2, 3, 4]
    intact(bus)
