"""How messages go through the journal: posted when they are admitted, delivered when they are written, or retracted.

A place is pledged in every queue that a message goes to, so that there is room for it when it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus._core.changes import Sought
from eventbus._core.parcels import Batch, Parcel, Target, memories
from eventbus._core.posting import Posting
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.engine import Engine
    from eventbus._core.lanes import Place
    from eventbus._core.lots import Chunk
    from eventbus._core.outbox import Outbox
    from eventbus._core.queue import QueueState


class Dispatch:
    """What becomes of durable messages of one bus between their entry and their queues."""

    def __init__(self, engine: Engine, outbox: Outbox) -> None:
        self.engine = engine
        self.entry = engine.entry
        self.outbox = outbox

    def post(self, parcel: Parcel) -> int:
        """Have a message that was admitted written, before it reaches its queues: its offset."""
        outbox = self.require()
        parcel.posting = posting = Posting((parcel,))
        offset = self._pledge(parcel, posting)
        outbox.post(posting)
        return offset

    def post_all(self, posting: Posting) -> None:
        """The same for a transaction. Its deliveries are nobody's until then."""
        outbox = self.require()
        parcels = []
        for parcel in posting.parcels:
            first = self.entry.first_of(parcel)
            if not first:
                self._pledge(parcel, posting)
                parcels.append(parcel)
                continue
            parcel.offset = first
            coming = outbox.coming.get(first, posting)
            if coming is not posting:
                posting.repeated = (*posting.repeated, coming)
        posting.parcels = parcels
        for lease in posting.leases:
            lease._holder.part()
            lease._holder.out.discard(lease)
            lease._holder.queue.withheld += 1
        outbox.post(posting)

    def post_chunk(self, batch: Batch, chunk: Chunk, start: int) -> None:
        """The same for messages that enter together."""
        for queue in batch.queues:
            queue.pledge(chunk.size)
        outbox = self.require()
        batch.posting = Posting(batch=batch, chunk=chunk)
        batch.posting.start = start
        outbox.post(batch.posting)

    def post_letter(
        self, queue: QueueState, letter: Record, place: Place, data: tuple[bytes, str | None] | None
    ) -> None:
        """Have a dead letter written, for which there is always room; without data it is in memory only."""
        _, time, body, key, headers, priority, topic, rare, _ = letter
        parcel = Parcel(topic, body, key, headers, priority, time, rare, [Target(queue, place, body)])
        parcel.data, parcel.head = data or (None, None)
        parcel.letter = True
        parcel.posting = posting = Posting((parcel,), lasting=True)
        self._pledge(parcel, posting)
        self.outbox.post(posting)

    def _pledge(self, parcel: Parcel, posting: Posting) -> int:
        for target in parcel.targets:
            target.queue.pledge(1)
        offset = self.entry.number(parcel)
        if parcel.id is not None:
            self.outbox.coming[offset] = posting
        return offset

    def require(self) -> Outbox:
        """Refuse what could not be written down."""
        self.outbox.require()
        return self.outbox

    def deliver(self, posting: Posting) -> None:
        """It is written: let its messages reach their queues, and its deliveries be acked. Under the lock."""
        if posting.batch is not None:
            assert posting.chunk is not None
            self._deliver_chunk(posting.batch, posting.chunk)
        for parcel in posting.parcels:
            parcel.targets = self._redeem(parcel)
            if parcel.letter:
                (target,) = parcel.targets or (None,)
                if target is not None:
                    target.queue.accept(parcel.record(parcel.offset, target.body), target.place, letter=True)
            else:
                self.entry.receive(parcel)
        for lease in posting.leases:
            queue = lease._holder.queue
            queue.withheld -= 1
            if not queue.closed:
                queue.after_ack(lease)
        for queue, record, _ in posting.moves:
            queue.moved(record)

    def _deliver_chunk(self, batch: Batch, chunk: Chunk) -> None:
        queues = [queue for queue in batch.queues if not queue.closed]
        for queue in queues:
            queue.pledge(-chunk.size)
            if queue.takes_whole(chunk):
                queue.accept_chunk(chunk)
            else:
                for record in chunk.records:
                    queue.accept(record, None)
        self.entry.published_chunk(batch.topic, chunk, queues)

    def _redeem(self, parcel: Parcel) -> list[Target]:
        """The pledged places are there for it: the targets that still are."""
        self.outbox.coming.pop(parcel.offset, None)
        for target in parcel.targets:
            target.queue.pledge(-1)
        return [target for target in parcel.targets if not target.queue.closed]

    def _forget(self, parcel: Parcel) -> None:
        """It has not entered after all."""
        if (id := parcel.id) is not None:
            for seen in memories(parcel):
                seen.forget(id, parcel.offset)
        for target in parcel.targets:
            target.queue.changed()

    def retract(self, posting: Posting) -> None:
        """It could not be written: as if it had never been admitted. Under the lock."""
        if posting.batch is not None:
            assert posting.chunk is not None
            for queue in posting.batch.queues:
                queue.pledge(-posting.chunk.size)
                queue.changed()
        for parcel in posting.parcels:
            self._redeem(parcel)
            self._forget(parcel)
        if isinstance(posting.change, Sought) and posting.change.again:
            posting.change.depot.queue.loaded(posting.change.number)
        for lease in posting.leases:
            lease._holder.queue.take_back(lease)
        for queue, record, place in posting.moves:
            queue.withheld -= 1
            if not queue.closed:
                queue.put_back(record, place)
                queue.changed()
