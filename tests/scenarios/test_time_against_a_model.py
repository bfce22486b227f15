"""Time, failures, expiry, duplicates, overflow, dead letters and transactions, under a clock that the test advances.

The model knows of each message where it is and until when, and nothing else; every message is counted once.
"""

from __future__ import annotations

from collections import Counter
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
    EmptyError,
    Fifo,
    FullError,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retry,
    SettlementError,
    blocking,
)
from tests.kit import ManualClock
from tests.scenarios.conservation import intact

SECONDS = st.sampled_from([None, 1, 2, 3, 5, 8])
ROOM = st.sampled_from(
    [
        (None, Overflow.WAIT),
        (None, Overflow.WAIT),
        (2, Overflow.FAIL),
        (3, Overflow.DROP_OLDEST),
        (3, Overflow.DROP_NEWEST),
    ]
)


@attrs.define(eq=False)
class Entry:
    """One message: its state, and the times at which that changes."""

    offset: int
    priority: int = 0
    key: str | None = None
    state: str = "ready"
    until: float = 0.0
    expires: float | None = None
    failures: int = 0
    attempts: int = 0
    retry: bool = False
    """Whether it waits for a retry, and keeps its lane."""
    delivery: Any = None
    known: int = 0
    """How many attempts there had been when it last failed."""


@attrs.frozen
class Put:
    """What a put is given."""

    delay: int | None
    ttl: int | None
    priority: int
    key: str | None
    id: str | None

    def options(self) -> dict[str, Any]:
        return attrs.asdict(self)


PUTS = st.builds(
    Put,
    delay=SECONDS,
    ttl=SECONDS,
    priority=st.integers(0, 1),
    key=st.sampled_from([None, "a", "b"]),
    id=st.sampled_from([None, None, "i", "j"]),
)


class TimeMachine(RuleBasedStateMachine):
    @initialize(
        order=st.sampled_from([Fifo(), Priority(), Keyed(), Keyed(partitions=1)]),
        room=ROOM,
        lease=SECONDS,
        ttl=SECONDS,
        dedup=SECONDS,
        attempts=st.sampled_from([1, 2, 3, None]),
        first=st.sampled_from([0, 1, 3]),
        grave=st.sampled_from(["dead-letters", "graves", None]),
    )
    def begin(
        self, order: Any, room: Any, lease: Any, ttl: Any, dedup: Any, attempts: Any, first: Any, grave: Any
    ) -> None:
        retry = Retry(attempts=attempts, backoff=Backoff(first=first, factor=2, limit=4, jitter=0))
        self.policy = Policy(order, *room, lease=lease, ttl=ttl, dedup=dedup, retry=retry, dead_letter=grave)
        self.clock = ManualClock()
        self.bus = self.make_bus()
        self.grave = grave or "nowhere"
        self.declare()
        self.entries: list[Entry] = []
        self.letters: Counter[tuple[int, str, int]] = Counter()
        self.ids: dict[str, tuple[float, int]] = {}
        self.moved = 0

    def make_bus(self) -> Any:
        return blocking.Bus(clock=self.clock)

    def declare(self) -> None:
        self.queue = self.bus.queue("q", self.policy)
        self.graves = self.bus.queue(self.grave)

    @property
    def now(self) -> float:
        return self.clock.time()

    def those(self, state: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.state == state]

    # entering

    def first_of(self, id: str | None) -> int | None:
        """The offset of the message that had this id, if it is known again."""
        until, offset = self.ids.get(id or "", (0.0, 0))
        return offset if until > self.now else None

    def full(self, count: int) -> bool:
        """Whether so many messages are refused."""
        capacity = self.policy.capacity
        fails = self.policy.overflow is Overflow.FAIL and capacity is not None
        return fails and count > 0 and len(self.those("ready")) + count > (capacity or 0)

    def entered(self, put: Put, offset: int) -> None:
        start = self.now + (put.delay or 0)
        ends = [start + seconds for seconds in (put.ttl, self.policy.ttl) if seconds is not None]
        entry = Entry(offset, put.priority, put.key, expires=min(ends, default=None))
        if put.id is not None and self.policy.dedup is not None:
            self.ids[put.id] = self.now + self.policy.dedup, offset
        if put.delay:
            entry.state, entry.until = "delayed", start
        self.enter(entry)

    def enter(self, entry: Entry) -> None:
        ready = self.those("ready")
        self.entries.append(entry)
        if entry.state == "delayed" or self.policy.capacity is None or len(ready) < self.policy.capacity:
            return
        victim = entry
        if self.policy.overflow is Overflow.DROP_OLDEST:
            ranked = isinstance(self.policy.order, Priority)
            victim = min([*ready, entry], key=lambda e: (e.priority if ranked else 0, e.offset))
        victim.state = "dropped"
        if self.policy.dead_letter == "graves":
            self.letters[victim.offset, "overflow", victim.attempts] += 1

    @rule(put=PUTS, many=st.booleans())
    def put(self, put: Put, many: bool) -> None:
        first = self.first_of(put.id)
        try:
            if many:
                [offset] = self.queue.put_many(["x"], **put.options())
            else:
                offset = self.queue.put("x", **put.options())
        except FullError:
            assert first is None
            assert self.full(1)
            return
        if first is not None:
            assert offset == first
            return
        assert not self.full(1)
        self.entered(put, offset)

    @rule(
        puts=st.lists(PUTS, max_size=3),
        data=st.data(),
        fate=st.sampled_from(["commit", "commit", "commit", "raise", "stale"]),
    )
    def transact(self, puts: list[Put], data: st.DataObject, fate: str) -> None:
        out = self.those("out")
        acks = data.draw(st.lists(st.sampled_from(out), max_size=2, unique_by=id)) if out else []
        needed = sum(self.first_of(put.id) is None for put in puts)
        before = self.bus.stats().offset
        try:
            self.commit(puts, acks, fate)
        except (KeyError, SettlementError):
            assert fate != "commit"
        except FullError:
            assert self.full(needed)
        else:
            assert not self.full(needed)
            self.committed(puts, acks, before)

    def commit(self, puts: list[Put], acks: list[Entry], fate: str) -> None:
        with self.bus.transaction() as tx:
            for put in puts:
                tx.put(self.queue, "x", **put.options())
            for entry in acks:
                tx.ack(entry.delivery)
            if fate == "raise":
                raise KeyError
            if fate == "stale" and acks:
                acks[0].delivery.release()
                acks[0].state = "ready"
                self.expire()

    def committed(self, puts: list[Put], acks: list[Entry], before: int) -> None:
        for put in puts:
            if self.first_of(put.id) is None:  # it may be that of another of the same transaction
                before += 1
                self.entered(put, before)
        for entry in acks:
            entry.state = "acked"

    # taking and settling

    def next_ones(self) -> list[Entry]:
        """What may be delivered now: the very next message, or the first of each lane that is free."""
        ready = sorted(self.those("ready"), key=lambda e: e.offset)
        match self.policy.order:
            case Priority():
                return sorted(ready, key=lambda e: (-e.priority, e.offset))[:1]
            case Keyed():
                busy = {self.lane(e) for e in self.entries if e.state == "out" or (e.state == "delayed" and e.retry)}
                firsts = {self.lane(entry): entry for entry in reversed(ready)}
                return [entry for lane, entry in firsts.items() if lane not in busy]
        return ready[:1]

    def lane(self, entry: Entry) -> Any:
        assert isinstance(self.policy.order, Keyed)
        if entry.key is None:
            return entry.offset
        return entry.key if self.policy.order.partitions is None else 0

    def taken(self) -> Any:
        return self.queue.get_nowait()

    @rule()
    def get(self) -> None:
        nexts = {entry.offset: entry for entry in self.next_ones()}
        try:
            delivery = self.taken()
        except EmptyError:
            assert not nexts
            return
        entry = nexts[delivery.offset]
        entry.attempts += 1
        assert (delivery.attempt, delivery.failures) == (entry.attempts, entry.failures)
        entry.state, entry.delivery = "out", delivery
        entry.until = self.now + (self.policy.lease or float("inf"))

    @rule(data=st.data(), call=st.sampled_from(["ack", "nack", "release", "reject"]), delay=SECONDS)
    def settle(self, data: st.DataObject, call: str, delay: Any) -> None:
        if not self.those("out"):
            return
        entry = data.draw(st.sampled_from(self.those("out")))
        entry.delivery.nack(delay) if call == "nack" else getattr(entry.delivery, call)()
        if call == "nack":
            self.fail(entry, delay)
        elif call == "reject":
            self.die(entry, "rejected")
        else:
            entry.state = "ready" if call == "release" else "acked"
        self.expire()

    @rule(data=st.data(), seconds=st.integers(1, 9))
    def extend(self, data: st.DataObject, seconds: int) -> None:
        if self.those("out"):
            entry = data.draw(st.sampled_from(self.those("out")))
            entry.delivery.extend(seconds)
            if self.policy.lease is not None:
                entry.until = self.now + seconds

    # taking away, and putting back

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.entries:
            entry = data.draw(st.sampled_from(self.entries))
            waits = entry.state in ("ready", "delayed")
            assert self.queue.cancel(entry.offset) == waits
            if waits:
                entry.state = "purged"

    @rule(really=st.sampled_from([False, False, True]))
    def purge(self, really: bool) -> None:
        if really:
            waiting = self.those("ready") + self.those("delayed")
            assert self.queue.purge() == len(waiting)
            for entry in waiting:
                entry.state = "purged"

    @precondition(lambda self: hasattr(self, "graves") and self.graves.peek())
    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        letter = data.draw(st.sampled_from(self.graves.peek(1000)))
        death = letter.deaths[-1]
        before = self.bus.stats().offset
        try:
            assert self.graves.redrive(lambda message: message.offset == letter.offset, to=self.queue) == 1
        except FullError:
            assert self.full(1)
            return
        assert not self.full(1)
        self.moved += 1
        self.letters[death.offset, death.reason, death.attempts] -= 1
        expires = None if self.policy.ttl is None else self.now + self.policy.ttl
        self.enter(Entry(before + 1, letter.priority, letter.key, expires=expires))

    # time

    @rule(seconds=st.integers(1, 9))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        for entry in self.those("delayed"):
            if entry.until <= self.now:
                entry.state, entry.retry = "ready", False
        for entry in self.those("out"):
            if entry.until <= self.now:
                with pytest.raises(SettlementError):
                    entry.delivery.ack()
                self.fail(entry, None)
        self.expire()

    def fail(self, entry: Entry, delay: float | None) -> None:
        entry.failures += 1
        if self.policy.retry.attempts is not None and entry.failures >= self.policy.retry.attempts:
            self.die(entry, "failed")
            return
        wait = self.policy.retry.backoff.after(entry.failures) if delay is None else delay
        entry.state, entry.until, entry.retry = ("delayed", self.now + wait, True) if wait else ("ready", 0, False)

    def expire(self) -> None:
        for entry in self.those("ready") + self.those("delayed"):
            if entry.expires is not None and entry.expires <= self.now:
                self.die(entry, "expired")

    def die(self, entry: Entry, reason: str) -> None:
        entry.state = "dead"
        if self.policy.dead_letter is not None:
            self.letters[entry.offset, reason, entry.attempts] += 1

    # after each step

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "bus"):
            return
        intact(self.bus)  # type: ignore[arg-type]
        stats = self.queue.stats()
        assert stats.published == len(self.entries)
        for state in ("ready", "delayed", "out", "acked", "dead", "dropped", "purged"):
            assert getattr(stats, state) == len(self.those(state)), state
        letters = [letter.deaths[-1] for letter in self.graves.peek(1000)]
        assert Counter((d.offset, d.reason, d.attempts) for d in letters) == +self.letters
        assert self.graves.stats().acked == self.moved


def test_time_is_as_the_model_says() -> None:
    run_state_machine_as_test(TimeMachine)
