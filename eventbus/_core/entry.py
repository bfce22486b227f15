"""The one path by which a message enters.

A message goes to its targets all or nothing: `send` finds room in every target or parks the sender in the line of
each, which keeps its place in all of them. Before that, outside the lock, the face has run all that is user code (the
filters, partitioners and copies) against the topic's routes, and put the outcome in a `Parcel`; `send` refuses a
parcel whose routes are no longer the topic's. A transaction, `commit`, is the same with several parcels and with acks.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from eventbus._core.backlog import offset_of
from eventbus._core.cycles import Wait, cycle_through
from eventbus._core.errands import LetGo
from eventbus._core.leases import Lease, require_out
from eventbus._core.parcels import Batch, Parcel, memories, needs_of
from eventbus._core.topic import TopicState
from eventbus._core.waiting import Waiter
from eventbus.errors import FullError
from eventbus.message import Headers, Rare, Record
from eventbus.policy import Overflow

if TYPE_CHECKING:
    from eventbus._core.dispatch import Dispatch
    from eventbus._core.engine import Engine
    from eventbus._core.lots import Chunk
    from eventbus._core.posting import Posting
    from eventbus._core.queue import QueueState

STALE: Final = -1
"""What `send` and `commit` return when routes have changed since a parcel was made."""


class Entry:
    """How messages enter the queues of one bus, and which publishers wait to enter."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lock = engine.lock
        self.blocked: dict[object, Wait] = {}
        """What each waiting publisher's task waits for."""

    def send(self, parcel: Parcel, waiter: Waiter | None = None) -> int:
        """Enter one message: its offset, 0 if the sender must wait (and is parked), or STALE."""
        with self.lock:
            self.engine.require_entry(parcel.inside)
            if parcel.is_stale():
                self._stop_waiting(waiter)
                return STALE
            first = self.first_of(parcel)
            if first:
                self._stop_waiting(waiter)
                parcel.posting = self._posting_of(first)
                return first
            if not self._admitted(dict.fromkeys(parcel.queues(), 1), waiter):
                return 0
            return self._dispatch().post(parcel) if parcel.durable else self._enter(parcel)

    def commit(
        self,
        parcels: Sequence[Parcel],
        leases: Collection[Lease] = (),
        waiter: Waiter | None = None,
        posting: Posting | None = None,
    ) -> int:
        """Enter all these messages and ack all these deliveries: whether it did, 0 if it must wait, or STALE.

        With a posting, which has the same messages and deliveries, that takes effect once it is written.
        What is out is looked at first and acked last. An ack in another thread, which takes no lock, may come between:
        then it is the one that counts twice, which is harmless.
        """
        with self.lock:
            self.engine.require_entry(all(parcel.inside for parcel in parcels))
            if any(parcel.is_stale() for parcel in parcels):
                self._stop_waiting(waiter)
                return STALE
            for lease in leases:
                require_out(lease)
            if not self._admitted(needs_of([parcel for parcel in parcels if not self.first_of(parcel)]), waiter):
                return 0
            if posting is not None:
                self._dispatch().post_all(posting)
                return 1
            for parcel in parcels:  # an id may be that of another message of the same transaction
                parcel.offset = self.first_of(parcel) or self._enter(parcel)
            for lease in leases:
                lease._holder.queue.ack_many((lease,))
            return 1

    def first_of(self, parcel: Parcel) -> int:
        """The offset of the message that this one repeats, or 0; queues of a topic that have seen it are left out."""
        id = parcel.id
        if id is None:
            return 0
        now = self.engine.now
        topic = parcel.topic
        if topic is not None and topic.seen is not None and (first := topic.seen.find(id, now)):
            return first
        fresh = []
        for target in parcel.targets:
            first = 0 if target.queue.seen is None else target.queue.seen.find(id, now)
            if not first:
                fresh.append(target)
            elif topic is None:
                return first
        parcel.targets = fresh
        return 0

    def _dispatch(self) -> Dispatch:
        """What is durable goes through the journal."""
        outbox = self.engine.outbox
        assert outbox is not None, "what is durable has one"
        return outbox.dispatch

    def _posting_of(self, first: int) -> Posting | None:
        """What a message that is repeated is being written with, if it is on its way to the disk."""
        return None if self.engine.outbox is None else self.engine.outbox.coming.get(first)

    def _enter(self, parcel: Parcel) -> int:
        """Put a message that was admitted into its queues: its offset."""
        offset = self.number(parcel)
        self.receive(parcel)
        return offset

    def number(self, parcel: Parcel) -> int:
        """Give a message that was admitted its offset, and remember its id."""
        engine = self.engine
        engine.offset = parcel.offset = offset = engine.offset + 1
        if (id := parcel.id) is not None:
            for seen in memories(parcel):
                seen.remember(id, offset, engine.now)
        return offset

    def receive(self, parcel: Parcel) -> None:
        """Let a message reach its queues."""
        offset, topic = parcel.offset, parcel.topic
        for target in parcel.targets:
            target.queue.receive(parcel.record(offset, target.body), target.place, parcel.due)
        if topic is not None or self.engine.watched:
            self.published(topic, [parcel.record(offset, parcel.body)], [parcel.queues()])

    def broadcast(
        self, topic: TopicState, body: Any, headers: Headers, priority: int, time: float, rare: Rare | None = None
    ) -> int:
        """Enter one message in all queues of a topic if that takes only pushes; 0 to go the long way, `send`."""
        engine, lock = self.engine, self.lock
        try:
            lock.acquire()
            if topic.routes is None:
                engine.wiring.known_routes(topic)
            queues = topic.quick
            if queues is None or engine.guarded:
                return 0
            for queue in queues:
                if not queue.credit and not queue.grant():
                    return 0
            engine.offset = offset = engine.offset + 1
            record: Record = (offset, time, body, None, headers, priority, topic.name, rare, None)
            for queue in queues:
                queue.credit -= 1
                push = queue.push
                push(record)
                if queue.getters.parked:
                    queue.rouse_getters()
            if topic.retained is not None:
                self.published(topic, (record,), (queues,))
            else:  # the same in place, for speed
                topic.published += 1
                if not queues:
                    topic.unroutable += 1
            return offset
        finally:
            lock.release()

    def send_slice(self, batch: Batch, start: int, stop: int, waiter: Waiter | None = None) -> range | None:
        """Enter as many of the messages from `start` to `stop` as fit now: their offsets, None if the batch is stale.

        If the queues make a publisher wait, a waiter may be given: then it is one at least, or the waiter is parked.
        """
        engine = self.engine
        with self.lock:
            engine.require_entry(batch.inside)
            topic, queues = batch.topic, batch.queues
            if topic is not None and topic.routes is not batch.routes:
                self._stop_waiting(waiter)
                return None
            count = stop - start
            for queue in queues:
                queue.require_open()
                count = min(count, queue.room() - queue.putters.needed())
            if waiter is not None:
                if not self._admitted(dict.fromkeys(queues, 1), waiter):
                    return range(0)
                count = max(1, count)
            elif count <= 0:
                return range(0)
            if batch.durable:
                self._dispatch().require()
            first = engine.offset + 1
            engine.offset += count
            chunk = batch.chunk(start, start + count, first)
            if batch.durable:
                self._dispatch().post_chunk(batch, chunk, start)
                return range(first, first + count)
            for queue in queues:
                queue.accept_chunk(chunk)
            self.published_chunk(topic, chunk, queues)
            return range(first, first + count)

    def leave(self, waiter: Waiter) -> None:
        """A publisher gave up; its claims go to those behind it."""
        with self.lock:
            self._stop_waiting(waiter)

    def _admitted(self, needs: Mapping[QueueState, int], waiter: Waiter | None) -> bool:
        """Whether so many messages may enter each queue; if not, the waiter stands in the line of each that is full."""
        waits = False
        for queue, need in needs.items():
            queue.require_open()
            if not queue.admits(waiter, need):
                if queue.policy.overflow is Overflow.FAIL or need > queue.capacity:
                    raise FullError(queue.name, queue.policy.capacity, needed=need)
                waits = True
        if not waits:
            self._stop_waiting(waiter)
            return True
        if waiter is None:
            return False
        if self.engine.outbox is not None:
            self.engine.outbox.require_another_thread("there is no room, and nothing was sent")
        self._park(waiter, needs)
        # Look again: a handout takes no lock, and looks whether somebody waits.
        if not all(queue.admits(waiter, need) for queue, need in needs.items()):
            return False
        self._stop_waiting(waiter)
        return True

    def _park(self, waiter: Waiter, needs: Mapping[QueueState, int]) -> None:
        self._leave_lines(waiter, needs)
        wait = Wait(waiter, {q: need for q, need in needs.items() if q.policy.overflow is Overflow.WAIT})
        for queue, need in wait.needs.items():
            if queue.admits(waiter, need):
                queue.putters.claim(waiter, need)
            else:
                queue.putters.park(waiter, need)
            queue.refresh()
        self.blocked[waiter.party] = wait
        if cycle := cycle_through(wait, self.blocked):
            raise FullError(cycle[0].name, cycle[0].policy.capacity, [queue.name for queue in cycle])

    def _stop_waiting(self, waiter: Waiter | None) -> None:
        if waiter is not None and waiter.ticket:  # else it has never stood in line
            self._leave_lines(waiter, ())
            self.blocked.pop(waiter.party, None)

    def _leave_lines(self, waiter: Waiter, but: Container[QueueState]) -> None:
        """Leave the lines of all queues in which it stands, except these."""
        wait = self.blocked.get(waiter.party)
        for queue in () if wait is None else wait.needs:
            if queue not in but:
                queue.putters.leave(waiter)
                queue.changed()

    def published(
        self, topic: TopicState | None, records: Sequence[Record], queues: Sequence[Sequence[QueueState]]
    ) -> None:
        """What else happens when messages enter: counting, keeping, telling."""
        engine = self.engine
        if topic is not None:
            topic.published += len(records)
            topic.unroutable += sum(not reached for reached in queues)
            if topic.durable:
                self._kept(topic, offset_of(records[-1]))
            if topic.retained is not None:
                last = offset_of(records[-1])
                late = last != engine.offset and last < topic.retained.last_offset()  # they were being written
                gone = [old for record in records for old in topic.retained.keep(record, late)]
                if gone:
                    engine.errands.append(LetGo(gone))
                engine.archive.followers.rouse_all(engine.errands)
        if engine.watched:
            for record, reached in zip(records, queues, strict=True):
                engine.tell("published", record, [queue.name for queue in reached])

    def published_chunk(self, topic: TopicState | None, chunk: Chunk, queues: Sequence[QueueState]) -> None:
        """The same for messages that enter together, one by one only if somebody looks at each."""
        if self.engine.watched or (topic is not None and topic.retained is not None):
            self.published(topic, chunk.records, [queues] * chunk.size)
        elif topic is not None:
            topic.published += chunk.size
            if not queues:
                topic.unroutable += chunk.size
            if topic.durable:
                self._kept(topic, chunk.first + chunk.size - 1)

    def _kept(self, topic: TopicState, offset: int) -> None:
        """The journal keeps a topic's messages, up to this one by now."""
        topic.last = offset
        self.engine.archive.followers.rouse_all(self.engine.errands)
