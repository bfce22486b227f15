"""The one path by which a message enters.

A message goes to its targets all or nothing: `send` finds room in every target or parks the sender in the line of
each, which keeps its place in all of them. Before that, outside the lock, the face has run all that is user code (the
filters, partitioners and copies) against the topic's routes, and put the outcome in a `Parcel`; `send` refuses a
parcel whose routes are no longer the topic's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from eventbus._core.cycles import cycle_through
from eventbus._core.errands import LetGo
from eventbus._core.parcels import Batch, Parcel
from eventbus._core.topic import TopicState
from eventbus._core.waiting import Waiter
from eventbus.errors import FullError
from eventbus.message import Headers, Record
from eventbus.policy import Overflow

if TYPE_CHECKING:
    from eventbus._core.engine import Engine
    from eventbus._core.queue import QueueState

STALE: Final = -1
"""What `send` returns when the routes have changed since the parcel was made."""


class Entry:
    """How messages enter the queues of one bus, and which publishers wait to enter."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lock = engine.lock
        self.blocked: dict[object, Sequence[QueueState]] = {}
        """Which queues' room each waiting publisher's task waits for."""

    def send(self, parcel: Parcel, waiter: Waiter | None = None) -> int:
        """Enter one message: its offset, 0 if the sender must wait (and is parked), or STALE."""
        engine = self.engine
        with self.lock:
            engine.require_open()
            topic, queues = parcel.topic, parcel.queues()
            if topic is not None and topic.routes is not parcel.routes:
                self._stop_waiting(waiter, queues)
                return STALE
            if not self._admitted(queues, waiter):
                return 0
            engine.offset = offset = engine.offset + 1
            for target in parcel.targets:
                target.queue.accept(parcel.record(offset, target.body), target.place)
            if topic is not None or engine.watched:
                self._published(topic, [parcel.record(offset, parcel.body)], [queues])
            return offset

    def broadcast(self, topic: TopicState, body: Any, headers: Headers, priority: int, time: float) -> int:
        """Enter one message in all queues of a topic if that takes only pushes; 0 to go the long way, `send`."""
        engine, lock = self.engine, self.lock
        try:
            lock.acquire()
            queues = topic.plain
            if queues is None or engine.watched or engine.closed:
                return 0
            for queue in queues:
                if not queue.credit and not queue.grant():
                    return 0
            engine.offset = offset = engine.offset + 1
            record: Record = (offset, time, body, None, headers, priority, topic.name, None, None)
            for queue in queues:
                queue.credit -= 1
                queue.push(record)
                if queue.getters.parked:
                    queue.rouse_getters()
            self._published(topic, (record,), (queues,))
            return offset
        finally:
            lock.release()

    def send_slice(self, batch: Batch, start: int, stop: int) -> range:
        """Enter as many of the messages from `start` to `stop` as fit now, moved as slices: their offsets."""
        engine = self.engine
        with self.lock:
            engine.require_open()
            topic = batch.topic
            if topic is not None and topic.routes is not batch.routes:
                return range(0)
            count = stop - start
            for queue in batch.queues:
                queue.require_open()
                count = min(count, queue.room() - len(queue.putters))
            if count <= 0:
                return range(0)
            first = engine.offset + 1
            engine.offset += count
            records = batch.records(start, start + count, first)
            for queue in batch.queues:
                queue.accept_many(records)
            if topic is not None or engine.watched:
                self._published(topic, records, [batch.queues] * count)
            return range(first, first + count)

    def send_whole(self, parcels: Sequence[Parcel]) -> list[int]:
        """Enter all the parcels, which are for one queue that fails when full, or none."""
        with self.lock:
            self.engine.require_open()
            for queue in {queue for parcel in parcels for queue in parcel.queues()}:
                queue.require_open()
                if queue.room() < len(parcels):
                    raise FullError(queue.name, queue.policy.capacity)
            return [self.send(parcel) for parcel in parcels]

    def leave(self, waiter: Waiter, queues: Sequence[QueueState]) -> None:
        """A publisher gave up; its claims go to those behind it."""
        with self.lock:
            self._stop_waiting(waiter, queues)

    def _admitted(self, queues: Sequence[QueueState], waiter: Waiter | None) -> bool:
        """Whether a message may enter all the queues; if not, the waiter stands in the line of each that is full."""
        blocking = []
        for queue in queues:
            queue.require_open()
            if not queue.admits(waiter):
                if queue.policy.overflow is Overflow.FAIL:
                    self._stop_waiting(waiter, queues)
                    raise FullError(queue.name, queue.policy.capacity)
                blocking.append(queue)
        if not blocking:
            self._stop_waiting(waiter, queues)
            return True
        if waiter is not None:
            self._park(waiter, queues, blocking)
        return False

    def _park(self, waiter: Waiter, queues: Sequence[QueueState], blocking: Sequence[QueueState]) -> None:
        for queue in queues:
            if queue in blocking:
                queue.putters.park(waiter)
            elif queue.policy.overflow is Overflow.WAIT:
                queue.putters.claim(waiter)
            queue.refresh()
        self.blocked[waiter.party] = blocking
        if cycle := cycle_through(blocking, self.blocked):
            self._stop_waiting(waiter, queues)
            raise FullError(cycle[0].name, cycle[0].policy.capacity, [queue.name for queue in cycle])

    def _stop_waiting(self, waiter: Waiter | None, queues: Sequence[QueueState]) -> None:
        if waiter is not None:
            self.blocked.pop(waiter.party, None)
            for queue in queues:
                queue.putters.leave(waiter)
                queue.changed()

    def _published(
        self, topic: TopicState | None, records: Sequence[Record], queues: Sequence[Sequence[QueueState]]
    ) -> None:
        """What else happens when messages enter: counting, keeping, telling."""
        engine = self.engine
        if topic is not None:
            topic.published += len(records)
            topic.unroutable += sum(not reached for reached in queues)
            if topic.retained is not None:
                gone = [old for record in records if (old := topic.retained.keep(record)) is not None]
                if gone:
                    engine.errands.append(LetGo(gone))
                engine.archive.followers.rouse_all(engine.errands)
        if engine.watched:
            for record, reached in zip(records, queues, strict=True):
                engine.tell("published", record, [queue.name for queue in reached])
