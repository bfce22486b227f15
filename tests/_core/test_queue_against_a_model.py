"""A queue, in every order and overflow, against a model of lists that counts for itself.

After each step everything that can go on has gone on; then what the real queue delivered is played on the model, which
says whether it was right: the next message in order, once, with the right attempt and failures. What still waits must
have a reason to.
"""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventbus import (
    Backoff,
    Batch,
    Bus,
    Consumer,
    Delivery,
    EmptyError,
    Fifo,
    FullError,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retry,
    SettlementError,
    StaleDeliveryError,
)
from eventbus.policy import Order
from tests._core.models import Entry, QueueModel
from tests.kit import Steps

KEYS = st.sampled_from([None, "a", "b", "c", "d", "e"])
SETTLEMENTS = ("ack", "nack", "release", "reject")


@attrs.define(eq=False)
class Member:
    """A consumer, or the plain receivers together."""

    consumer: Consumer[Any] | None = None
    priority: int = 0
    prefetch: int = 1
    until_empty: bool = False
    held: dict[Entry, Delivery[Any]] = attrs.field(factory=dict)
    ended: bool = False


@attrs.define(eq=False)
class Receiver:
    """A call that waits for messages."""

    task: asyncio.Task[Any]
    member: Member
    limit: int
    arrival: int


@attrs.define(eq=False)
class Putter:
    """A call that waits for room."""

    task: asyncio.Task[Any]
    entries: list[Entry]
    arrival: int
    entered: list[int] = attrs.field(factory=list)
    need: int = 1
    """How many places it waits for at once."""


class QueueMachine(RuleBasedStateMachine):
    policies: Any = st.nothing()
    prefetches = (1,)
    plain_get = True

    @property
    def exact(self) -> bool:
        """Whether the very next message is known: not where consumers reserve ahead or own their lanes."""
        return self.prefetches == (1,) and self.plain_get

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.steps = Steps()
        self.policy: Policy = data.draw(self.policies)
        self.bus = Bus()
        self.queue = self.bus.queue("q", self.policy)
        self.model = QueueModel(self.policy)
        self.plain = Member()
        self.members: list[Member] = []
        self.receivers: list[Receiver] = []
        self.putters: list[Putter] = []
        self.joiner: asyncio.Task[Any] | None = None
        self.settled: list[tuple[Delivery[Any], str]] = []
        self.gone: list[Delivery[Any]] = []
        self.arrivals = 0
        self.bodies = 0
        self.fates: dict[Any, str] = {}

    def teardown(self) -> None:
        if hasattr(self, "steps"):
            self.steps.close()
            self.account()

    # putting

    def entry(self, key: str | None, priority: int) -> Entry:
        self.bodies += 1
        return Entry(0, f"body {self.bodies}", key, priority)

    def entered(self, entry: Entry, offset: int) -> None:
        entry.offset = offset
        dropped = self.model.enter(entry)
        if dropped is not None:
            self.fates[dropped.body] = "dropped"

    @rule(key=KEYS, priority=st.integers(-1, 2))
    def put_nowait(self, key: str | None, priority: int) -> None:
        entry = self.entry(key, priority)
        refuses = self.policy.overflow in (Overflow.WAIT, Overflow.FAIL)
        full = refuses and (self.model.room() <= 0 or bool(self.putters))  # room that is there is for those in line
        try:
            offset = self.queue.put_nowait(entry.body, key=key, priority=priority)
        except FullError as error:
            assert full
            assert (error.queue, error.capacity, error.cycle) == ("q", self.policy.capacity, ())  # noqa: PT017  # whether it is raised is what is looked at
        else:
            assert not full
            self.entered(entry, offset)
        self.flow()

    @rule(key=KEYS, priority=st.integers(-1, 2))
    def put(self, key: str | None, priority: int) -> None:
        entry = self.entry(key, priority)
        task = self.steps.start(self.queue.put(entry.body, key=key, priority=priority))
        self.putting(task, [entry])

    @rule(entries=st.lists(st.tuples(KEYS, st.integers(-1, 2)), max_size=6), priority=st.integers(-1, 2))
    def put_many(self, entries: list[tuple[str | None, int]], priority: int) -> None:
        several = [self.entry(key, priority) for key, _ in entries]
        keys = {entry.body: entry.key for entry in several}
        bodies = [entry.body for entry in several]
        task = self.steps.start(self.queue.put_many(bodies, key=keys.__getitem__, priority=priority))
        self.putting(task, several)

    @rule(entries=st.lists(st.tuples(KEYS, st.integers(-1, 2)), max_size=4))
    def transact(self, entries: list[tuple[str | None, int]]) -> None:
        several = [self.entry(key, priority) for key, priority in entries]
        task = self.steps.start(self.commit(several))
        capacity = self.policy.capacity
        if task.done() and isinstance(task.exception(), FullError):
            fails = self.policy.overflow is Overflow.FAIL and self.model.room() < len(several)
            assert fails or (capacity is not None and len(several) > capacity)
        else:
            self.putters.append(Putter(task, several, self.arrival(), need=len(several)))
        self.flow()

    async def commit(self, entries: list[Entry]) -> list[int]:
        async with self.bus.transaction() as tx:
            for entry in entries:
                tx.put(self.queue, entry.body, key=entry.key, priority=entry.priority)
        return [parcel.offset for parcel in tx._commit.parcels]

    def putting(self, task: asyncio.Task[Any], entries: list[Entry]) -> None:
        if task.done() and isinstance(task.exception(), FullError):
            assert self.policy.overflow is Overflow.FAIL
            assert self.model.room() < len(entries)
            self.flow()
            return
        if self.policy.overflow is Overflow.FAIL:
            assert self.model.room() >= len(entries), "a queue that fails when full took too much"
        self.putters.append(Putter(task, entries, self.arrival()))
        self.flow()

    def arrival(self) -> int:
        self.arrivals += 1
        return self.arrivals

    @precondition(lambda self: self.putters)
    @rule(data=st.data())
    def cancel_a_put(self, data: st.DataObject) -> None:
        putter = data.draw(st.sampled_from(self.putters))
        self.steps.cancel(putter.task)
        assert putter.task.cancelled()
        self.flow()

    # taking

    @precondition(lambda self: self.plain_get)
    @rule()
    def get_nowait(self) -> None:
        waiting = any(r.member.priority >= 0 for r in self.receivers)
        try:
            delivery = self.queue.get_nowait()
        except EmptyError:
            assert not self.model.deliverable()
        else:
            assert not waiting, "a newcomer was served before those who wait"
            self.received(self.plain, delivery)
        self.flow()

    @precondition(lambda self: self.plain_get)
    @rule()
    def get(self) -> None:
        self.receiving(self.steps.start(self.queue.get()), self.plain, 1)

    @precondition(lambda self: self.plain_get)
    @rule(limit=st.integers(1, 5))
    def get_many(self, limit: int) -> None:
        self.receiving(self.steps.start(self.queue.get_many(limit)), self.plain, limit)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def iterate(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.members))
        if member.ended or any(r.member is member for r in self.receivers):
            return
        assert member.consumer is not None
        self.receiving(self.steps.start(member.consumer.__anext__()), member, 1)

    def receiving(self, task: asyncio.Task[Any], member: Member, limit: int) -> None:
        self.receivers.append(Receiver(task, member, limit, self.arrival()))
        self.flow()

    @precondition(lambda self: self.receivers)
    @rule(data=st.data())
    def cancel_a_get(self, data: st.DataObject) -> None:
        receiver = data.draw(st.sampled_from(self.receivers))
        self.steps.cancel(receiver.task)
        assert receiver.task.cancelled()
        self.flow()

    def received(self, member: Member, delivery: Delivery[Any]) -> None:
        entry = next((e for e in self.model.ready if e.offset == delivery.offset), None)
        assert entry is not None, "a message was delivered that was not ready"
        if self.exact:
            assert entry is self.model.order.next(), "not the next message"
        else:
            assert self.model.order.may(entry), "not a message that may be delivered now"
        assert not self.model.paused
        self.model.take(entry)
        assert delivery.attempt == entry.attempts
        assert delivery.failures == entry.failures
        assert delivery.redelivered == (entry.attempts > 1)
        assert (delivery.body, delivery.key, delivery.message.priority) == (entry.body, entry.key, entry.priority)
        assert not delivery.settled
        member.held[entry] = delivery

    # settling

    def all_held(self) -> list[tuple[Member, Entry]]:
        return [(member, entry) for member in (self.plain, *self.members) for entry in member.held]

    @precondition(lambda self: self.all_held())
    @rule(data=st.data(), call=st.sampled_from(SETTLEMENTS))
    def settle(self, data: st.DataObject, call: str) -> None:
        member, entry = data.draw(st.sampled_from(self.all_held()))
        delivery = member.held.pop(entry)
        getattr(delivery, call)()
        assert delivery.settled
        self.model.settle(entry, call)
        if call in ("ack", "reject"):
            self.fates[entry.body] = call
        self.settled.append((delivery, call))
        self.flow()

    @precondition(lambda self: self.settled)
    @rule(data=st.data(), call=st.sampled_from(SETTLEMENTS))
    def settle_again(self, data: st.DataObject, call: str) -> None:
        delivery, before = data.draw(st.sampled_from(self.settled))
        if call == before:
            getattr(delivery, call)()
        else:
            with pytest.raises(SettlementError):
                getattr(delivery, call)()

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), call=st.sampled_from(SETTLEMENTS))
    def settle_what_went_elsewhere(self, data: st.DataObject, call: str) -> None:
        with pytest.raises(StaleDeliveryError):
            getattr(data.draw(st.sampled_from(self.gone)), call)()

    # consumers

    @precondition(lambda self: len(self.members) < 4)
    @rule(data=st.data(), until_empty=st.booleans(), priority=st.sampled_from([0, 0, 0, 1, -1]))
    def open_a_consumer(self, data: st.DataObject, until_empty: bool, priority: int) -> None:
        prefetch = data.draw(st.sampled_from(self.prefetches))
        consumer = self.queue.consume(prefetch, until_empty=until_empty, priority=priority)
        self.steps.call(consumer.__aenter__())
        self.members.append(Member(consumer, priority, prefetch, until_empty))
        self.flow()

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def close_a_consumer(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.members))
        self.members.remove(member)
        assert member.consumer is not None
        self.steps.call(member.consumer.__aexit__(None, None, None))
        for entry in sorted(member.held, key=lambda e: e.offset):
            self.model.settle(entry, "release")
            self.gone.append(member.held[entry])
        for receiver in [r for r in self.receivers if r.member is member]:
            assert receiver.task.done()
            assert isinstance(receiver.task.exception(), (StopAsyncIteration, RuntimeError))
            self.receivers.remove(receiver)
        self.flow()

    # the rest

    @rule()
    def purge(self) -> None:
        ready = list(self.model.ready)
        assert self.queue.purge() == len(ready)
        for entry in ready:
            self.withdrawn(entry)
        self.flow()

    @rule(data=st.data())
    def cancel_a_message(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.bus.stats().offset + 1))
        entry = next((e for e in self.model.ready if e.offset == offset), None)
        assert self.queue.cancel(offset) == (entry is not None)
        if entry is not None:
            self.withdrawn(entry)
        self.flow()

    def withdrawn(self, entry: Entry) -> None:
        self.model.withdraw(entry)
        self.model.counts["purged"] += 1
        self.fates[entry.body] = "purged"

    @rule(limit=st.integers(1, 5))
    def peek(self, limit: int) -> None:
        messages = self.queue.peek(limit)
        assert len(messages) == min(limit, len(self.model.ready))
        if self.exact and messages and not self.model.order.lanes:
            head = self.model.order.next()
            assert head is not None
            assert messages[0].offset == head.offset
        if self.model.order.lanes:
            assert [m.offset for m in messages] == sorted(e.offset for e in self.model.ready)[:limit]
        self.flow()

    @rule()
    def pause_or_resume(self) -> None:
        if self.model.paused:
            self.queue.resume()
        else:
            self.queue.pause()
        self.model.paused = not self.model.paused
        self.flow()

    @precondition(lambda self: self.joiner is None)
    @rule()
    def join(self) -> None:
        self.joiner = self.steps.start(self.queue.join())
        self.flow()

    # after each step

    def flow(self) -> None:
        """Play on the model what the queue did."""
        self.steps.run()
        self.putters = [p for p in self.putters if not p.task.cancelled()]
        done = [r for r in self.receivers if r.task.done()]
        self.receivers = [r for r in self.receivers if not r.task.done()]
        deliveries, ends = self.sort_out(done)
        arrivals = self.new_entries()
        while arrivals and self.policy.overflow is not Overflow.WAIT:
            self.entered(*arrivals.pop(0))  # in one go, before anybody who waits has run
        while deliveries or arrivals:
            served = deliveries[:1] if self.exact else deliveries  # those who wait are served in the order of arrival
            delivery = next((d for d in served if self.legal(d[1])), None)
            if delivery is not None:
                deliveries.remove(delivery)
                self.received(*delivery)
            else:
                assert arrivals, f"delivered out of order: {deliveries}"
                self.entered(*arrivals.pop(0))
        for member in ends:
            assert member.until_empty, "an iteration ended by itself"
            assert not self.model.ready, "an iteration ended while messages were ready"
            assert not any(m is not member and m.held for m in (self.plain, *self.members))
            member.ended = True
        self.nobody_waits_in_vain()

    def sort_out(self, done: list[Receiver]) -> tuple[list[tuple[Member, Delivery[Any]]], list[Member]]:
        deliveries, ends = [], []
        for receiver in sorted(done, key=lambda r: (-r.member.priority, r.arrival)):
            if receiver.task.cancelled():
                continue
            error = receiver.task.exception()
            if error is not None:
                assert "StopAsyncIteration" in repr(error)
                ends.append(receiver.member)
                continue
            result = receiver.task.result()
            several = list(result) if isinstance(result, Batch) else [result]
            assert 1 <= len(several) <= receiver.limit
            deliveries += [(receiver.member, delivery) for delivery in several]
        return deliveries, ends

    def legal(self, delivery: Delivery[Any]) -> bool:
        entry = next((e for e in self.model.ready if e.offset == delivery.offset), None)
        if entry is None:
            return False
        return entry is self.model.order.next() if self.exact else self.model.order.may(entry)

    def new_entries(self) -> list[tuple[Entry, int]]:
        """What entered in this step, by offset: what calls returned, and what put_many has let in so far."""
        found: list[tuple[Entry, int]] = []
        last = self.bus.stats().offset
        for putter in list(self.putters):
            if putter.task.done():
                offsets = putter.task.result()
                offsets = offsets if isinstance(offsets, list) else [offsets]
                assert len(offsets) == len(putter.entries)
                found += [(e, o) for e, o in zip(putter.entries, offsets, strict=True) if o not in putter.entered]
                self.putters.remove(putter)
            elif len(putter.entries) > 1 == putter.need:
                found += self.partly_entered(putter)
        found.sort(key=lambda pair: pair[1])
        assert all(offset <= last for _, offset in found)
        return found

    def partly_entered(self, putter: Putter) -> list[tuple[Entry, int]]:
        """Which bodies of a put_many that still waits are in the queue or out already."""
        state = self.queue._state
        records = [*state.backlog, *(record for h in state.all_holders() for record in h.records())]
        offsets = {record[2]: record[0] for record in records}
        found = []
        for entry in putter.entries[len(putter.entered) :]:
            offset = offsets.get(entry.body)
            if offset is None:
                break
            putter.entered.append(offset)
            found.append((entry, offset))
        return found

    def nobody_waits_in_vain(self) -> None:
        if self.receivers and self.plain_get:
            assert not self.model.deliverable(), "somebody waits for a message that is there"
        if self.putters:
            assert self.policy.overflow is Overflow.WAIT
            first = min(self.putters, key=lambda putter: putter.arrival)
            assert self.model.room() < first.need, "somebody waits for room that is there"
        for receiver in self.receivers:
            if receiver.member.until_empty:
                others = [m for m in (self.plain, *self.members) if m is not receiver.member and m.held]
                assert self.model.ready or others, "an iteration until empty goes on though nothing is left"
        if self.joiner is not None:
            assert self.joiner.done() == (not self.model.ready and not self.model.out) or self.joiner.done()
            if self.joiner.done():
                self.joiner = None

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "bus"):
            return
        self.bus._engine.check()
        stats, model = self.queue.stats(), self.model
        assert stats.ready == len(model.ready)
        assert stats.out == len(model.out) == len(self.all_held())
        assert stats.delayed == stats.lag == 0
        for name in ("published", "acked", "failed", "dead", "dropped", "purged", "redelivered"):
            if name != "redelivered" or self.exact:
                assert getattr(stats, name) == model.counts[name], name
        assert stats.published == (
            stats.acked + stats.dead + stats.dropped + stats.purged + stats.ready + stats.delayed + stats.out
        )
        assert stats.consumers == len(self.members)
        assert stats.waiting_putters == len(self.putters)
        assert stats.peak >= len(model.ready)
        letters = [(m.body, *(attrs.astuple(m.deaths[-1])[i] for i in (1, 2, 3))) for m in self.letters()]
        assert letters == model.letters

    def letters(self) -> list[Any]:
        return self.bus.dead_letters.peek(1000)

    def account(self) -> None:
        """Every message that entered is in one place, and in one only."""
        places = [*self.fates, *(e.body for e in self.model.ready), *(e.body for e in self.model.out)]
        assert len(set(places)) == len(places) == self.model.counts["published"]


def policies(*orders: Order) -> st.SearchStrategy[Policy]:
    return st.builds(
        Policy,
        st.sampled_from(orders),
        capacity=st.sampled_from([None, 1, 2, 3, 5]),
        overflow=st.sampled_from(Overflow),
        retry=st.just(Retry(attempts=None, backoff=Backoff(first=0))),
    )


class FifoMachine(QueueMachine):
    policies = policies(Fifo())


class PriorityMachine(QueueMachine):
    policies = policies(Priority())


class PartitionedMachine(QueueMachine):
    policies = policies(Keyed(partitions=1), Keyed(partitions=2), Keyed(partitions=7))


class GroupedMachine(QueueMachine):
    policies = policies(Keyed())


class PrefetchMachine(QueueMachine):
    policies = policies(Fifo(), Priority(), Keyed(partitions=3), Keyed())
    prefetches = (1, 2, 3, 64)


class StickyMachine(QueueMachine):
    policies = policies(*(Keyed(partitions=n, sticky=True) for n in (1, 2, 3, 5)))
    prefetches = (1, 3)
    plain_get = False

    def received(self, member: Member, delivery: Delivery[Any]) -> None:
        super().received(member, delivery)
        if delivery.key is not None:
            assert delivery.partition in range(self.policy.order.partitions)  # type: ignore[union-attr]

    def nobody_waits_in_vain(self) -> None:
        super().nobody_waits_in_vain()
        if self.model.paused:
            return
        for receiver in self.receivers:
            assert receiver.member.consumer is not None
            own = receiver.member.consumer.partitions
            for entry in self.model.ready:
                lane = self.model.order.lane(entry)  # type: ignore[attr-defined]
                mine = entry.key is None or lane in own
                reserved = any(
                    e.record[0] == entry.offset for m in self.members if m.consumer for e in m.consumer._holder.buffer
                )
                assert not (mine and self.model.order.may(entry)) or reserved, (
                    "somebody waits for a message of its lane"
                )

    @invariant()
    def lanes_are_spread_evenly(self) -> None:
        if not getattr(self, "members", None):
            return
        owned = [m.consumer.partitions for m in self.members if m.consumer]
        lanes = [lane for lanes in owned for lane in lanes]
        count = self.policy.order.partitions  # type: ignore[union-attr]
        assert sorted(lanes) == list(range(count)), "every lane has one owner"
        if not self.model.out and not any(m.consumer and m.consumer._buffer for m in self.members):
            assert max(map(len, owned)) - min(map(len, owned)) <= 1


@pytest.mark.parametrize(
    "machine",
    [FifoMachine, PriorityMachine, PartitionedMachine, GroupedMachine, PrefetchMachine, StickyMachine],
    ids=lambda machine: machine.__name__.removesuffix("Machine").lower(),
)
def test_a_queue_is_its_model(machine: type[QueueMachine]) -> None:
    run_state_machine_as_test(machine)
