"""Messages that are sent one by one, and written together as if they had been sent in a batch.

What `Entry.send` lets in has a parcel and a posting of its own. But most messages ask for nothing that others do not:
then one that is to be written joins the posting that the one before it has begun, if that is for the same queues and
the writer has not taken it yet. So it costs little more than its places in three lists; and what the writer and the
queues do for it, they do once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from eventbus._core.lots import Chunk
from eventbus._core.parcels import Batch
from eventbus._core.posting import Posting
from eventbus.message import NO_HEADERS

if TYPE_CHECKING:
    from eventbus._core.outbox import Outbox
    from eventbus._core.queue import QueueState
    from eventbus._core.topic import TopicState

MOST: Final = 256
"""How many messages one posting takes in: it reaches the queues in one hold of the lock."""


class Gathering:
    """The short way in for what is durable."""

    batch: Batch
    chunk: Chunk
    bodies: list[Any]
    data: list[bytes]
    times: list[float]

    def __init__(self, outbox: Outbox) -> None:
        self.engine = outbox.engine
        self.outbox = outbox
        self.posting: Posting | None = None
        """What takes messages in, if there is anything."""

    def publish(
        self, topic: TopicState, body: Any, data: bytes, priority: int, time: float
    ) -> tuple[int, Posting] | None:
        """Enter one message in all queues of a topic: its offset, and what it is written with. None to go the long way.

        ``data`` is its body as it is written.
        """
        lock = self.engine.lock
        try:
            lock.acquire()
            if topic.posted is None or not self._takes(topic.posted):
                return None
            return self._enter(topic.name, topic, topic.posted, body, data, priority, time)
        finally:
            lock.release()

    def put(
        self, queues: tuple[QueueState], body: Any, data: bytes, priority: int, time: float
    ) -> tuple[int, Posting] | None:
        """The same for a queue that has no lanes, by itself in a tuple that is always the same."""
        lock = self.engine.lock
        try:
            lock.acquire()
            if not self._takes(queues):
                return None
            return self._enter(queues[0].name, None, queues, body, data, priority, time)
        finally:
            lock.release()

    def _takes(self, queues: Sequence[QueueState]) -> bool:
        """Whether a message may enter these queues, and nobody has to look at it."""
        engine, outbox = self.engine, self.outbox
        if engine.guarded or not outbox.open or outbox.broken is not None:
            return False
        return not queues or all(not queue.closed and queue.room() > queue.putters.needed() for queue in queues)

    def _enter(
        self,
        name: str,
        topic: TopicState | None,
        queues: Sequence[QueueState],
        body: Any,
        data: bytes,
        priority: int,
        time: float,
    ) -> tuple[int, Posting]:
        for queue in queues:
            queue.pledge(1)
        self.engine.offset = offset = self.engine.offset + 1
        posting = self._joined(offset, topic, queues, priority) or self._begin(
            offset, Batch(name, queues, [], None, NO_HEADERS, priority, time, None, topic)
        )
        self.bodies.append(body)
        self.data.append(data)
        self.times.append(time)
        self.chunk.size += 1
        return offset, posting

    def _joined(
        self, offset: int, topic: TopicState | None, queues: Sequence[QueueState], priority: int
    ) -> Posting | None:
        """What has gathered, if a message may be written with it."""
        posting = self.posting
        if posting is None or self.outbox.items[-1] is not posting:
            return None
        batch, chunk = self.batch, self.chunk
        alike = batch.queues is queues and batch.topic is topic and chunk.facts[2] == priority
        follows = chunk.first + chunk.size == offset and chunk.size < MOST
        return posting if alike and follows else None

    def _begin(self, offset: int, batch: Batch) -> Posting:
        self.batch = batch
        self.bodies, self.data, self.times = [], [], []
        batch.bodies, batch.data = self.bodies, self.data
        self.chunk = Chunk(offset, self.bodies, None, batch.facts, self.times)
        self.posting = posting = Posting(batch=batch, chunk=self.chunk)
        self.outbox.post(posting)
        return posting

    def end(self) -> None:
        """Somebody has taken what has gathered, and it takes in nothing more."""
        if self.posting is not None:
            self.posting = None
            del self.batch, self.chunk, self.bodies, self.data, self.times  # so that it keeps no body alive
