"""What a bus does with its journal: bodies become bytes and come back, and replays read from both memory and disk."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import attrs

from eventbus._core.backlog import offset_of
from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.parcels import Batch, Parcel
from eventbus._core.posting import Posting
from eventbus._core.queue import QueueState
from eventbus._core.topic import TopicState
from eventbus._runtime.daemons import start_daemon
from eventbus._runtime.timers import Timers
from eventbus.causality import CURRENT
from eventbus.codec import Codec, JsonCodec
from eventbus.errors import CodecError, JournalError
from eventbus.history import PAGE
from eventbus.isolating import Coding, encoded
from eventbus.message import Headers, Key, Record, Undecoded
from eventbus.sending import Options

if TYPE_CHECKING:
    from eventbus._journal.reader import Reader
    from eventbus._journal.writer import Writer
    from eventbus.durability import Journal

__all__ = ["Journaling"]

INT64 = 1 << 63

PAGE_ON_DISK = 512
"""Rows that are read at once."""


class Journaling:
    """The journal of one bus, as the faces see it."""

    def __init__(self, engine: Engine, journal: Journal, codec: Codec | None, timers: Timers) -> None:
        from eventbus._journal.reader import Reader
        from eventbus._journal.writer import Writer

        journal = attrs.evolve(journal, path=os.path.abspath(journal.path))  # the same file wherever the process goes
        self.engine = engine
        self.coding = Coding(codec or JsonCodec())
        self.timers = timers
        self.writer: Writer = Writer(engine, journal, self.decode, self._look, start_daemon)
        self.reader: Reader = Reader(journal.path, self.decode)
        self.gathering = self.writer.outbox.gathering
        engine.data_of = self.data_of
        self.pasts: list[Callable[[], None]] | None = []
        """What is to be read once the journal is open; None from then on."""

    def _look(self) -> float:
        self.timers.look()
        return self.timers.time()

    # bodies and headers

    def stamp(self, parcel: Parcel, body: Any, type: Any, options: Options) -> None:
        """Give a message all that the journal needs of it; a request is never written."""
        if options.rare is None or options.rare.request is None:
            self.check_priority(parcel.priority)
            check_text("key", parcel.key)
            if parcel.rare is not None:
                check_text("id", parcel.rare.id)
            parcel.data = self.encode(body, parcel.name, type)
            parcel.head = self.head(parcel.headers, parcel.name)
            parcel.due_time = options.due_time

    def stamp_all(self, batch: Batch, type: Any) -> None:
        """The same for many messages."""
        _, headers, priority, name, _ = batch.facts
        self.check_priority(priority)
        for key in batch.keys or ():
            check_text("key", key)
        batch.data = self.coding.prepare_all(batch.bodies, name, type)
        batch.head = self.head(headers, name)

    def publish(self, topic: TopicState, body: Any, priority: int) -> tuple[int, Posting] | None:
        """The short way in for a message of the common kind: its offset, and what it is written with."""
        if CURRENT.get() is not None:  # it has a cause
            return None
        if priority:
            self.check_priority(priority)
        data = self.coding.prepare(body, topic.name, topic.type)
        return self.gathering.publish(topic, body, data, priority, self.timers.time())

    def put(self, queues: tuple[QueueState], body: Any, priority: int) -> tuple[int, Posting] | None:
        """The same for a queue, by itself in a tuple that is always the same."""
        if CURRENT.get() is not None:
            return None
        if priority:
            self.check_priority(priority)
        data = self.coding.prepare(body, queues[0].name, queues[0].type)
        return self.gathering.put(queues, body, data, priority, self.timers.time())

    def encode(self, body: Any, channel: str, type: Any) -> bytes:
        """A body as the journal has it; CodecError if it can't be."""
        data: bytes = self.coding.prepare(body, channel, type)
        return data

    def head(self, headers: Headers, channel: str) -> str | None:
        """Headers as the journal has them."""
        if not headers:
            return None
        return encoded(self.coding.json, dict(headers), channel, None).decode()

    def check_priority(self, priority: int) -> None:
        """SQLite's integers have an end."""
        if not -INT64 <= priority < INT64:
            raise ValueError(f"priority takes an integer of 64 bits where a journal keeps it, but got {priority!r}")

    def decode(self, datas: Sequence[bytes], channel: str, type: Any) -> list[Any]:
        """The bodies of such bytes, each perhaps `Undecoded`."""
        topic = self.engine.wiring.topics.get(channel)
        queue = self.engine.queues.get(channel)
        published = topic.type if topic is not None else None if queue is None else queue.type
        return self.coding.copies(datas, channel, published if type is None else type)

    def data_again(self, record: Record) -> tuple[bytes, str | None]:
        """The body and headers of a message that was sent before; CodecError if they can't be."""
        body, channel = record[2], record[6]
        topic = self.engine.wiring.topics.get(channel)
        queue = self.engine.queues.get(channel)
        type = topic.type if topic is not None else None if queue is None else queue.type
        data = bytes(body) if isinstance(body, Undecoded) else self.encode(body, channel, type)
        return data, self.head(record[4], channel)

    def data_of(self, letter: Record, grave: QueueState) -> tuple[bytes, str | None] | None:
        """A dead letter's body and headers. What has no bytes is in memory only, and that is said."""
        try:
            return self.data_again(letter)
        except CodecError as error:
            self.engine.report(f"a dead letter of {letter[6]!r} is kept in memory only, since it has no bytes", error)
            return None

    # opening and closing

    def open(self) -> Posting:
        """Begin to open the journal: what to wait for."""
        return self.writer.open()

    def once_open(self, load: Callable[[], None]) -> None:
        """Read something from the journal: now, or once it is open."""
        with self.engine.lock:
            if self.pasts is not None:
                self.pasts.append(load)
                return
        load()

    def opened(self) -> None:
        """The journal is open: read what has waited for that."""
        with self.engine.lock:
            pasts, self.pasts = self.pasts, None
        for load in pasts or ():
            load()
        run_errands(self.engine.errands)

    def close(self) -> Posting | None:
        """Begin to close it: what to wait for, if it was open."""
        self.reader.close()
        return self.writer.close()

    def pending(self) -> list[Posting]:
        """What is written after all that waits to be."""
        posting = self.writer.outbox.flush()
        run_errands(self.engine.errands)
        return [] if posting is None else [posting]

    def raise_what_failed(self) -> None:
        """Of what nobody waited for."""
        failure = self.writer.outbox.settled()
        if failure is not None:
            raise JournalError(str(failure)) from failure

    # reading

    def cancel(self, queue: QueueState, offset: int) -> bool:
        """Withdraw a message that is on disk only, wherever it is by then: whether it did."""
        with self.engine.lock:
            loads = queue.loads
            if queue.depot is None or not queue.unread or queue.loading or not 0 < offset <= self.engine.offset:
                return False
        found = self.reader.one(queue.depot, offset)
        with self.engine.lock:  # what was sought meanwhile is another past
            return found is not None and queue.loads == loads and queue.cancel(offset, found) is not None

    def page(self, topics: Sequence[TopicState], after: int, key: Key = None) -> Iterator[list[Record]]:
        """The next messages that topics keep, in memory or on disk, in batches."""
        memory = self.engine.archive.page([topic for topic in topics if not topic.durable], after, PAGE)
        durable = [topic.name for topic in topics if topic.durable]
        if not durable:
            return iter([memory] if memory else [])
        self.engine.require_open()
        disk = self.reader.page(durable, after, PAGE_ON_DISK, key)
        if not memory:
            return disk
        merged = heapq.merge(memory, chain.from_iterable(disk), key=offset_of)
        return iter([list(islice(merged, PAGE))])

    def first_since(self, topics: Sequence[TopicState], time: float) -> int | None:
        """The offset of the first message of this time or later that durable topics keep."""
        durable = [topic.name for topic in topics if topic.durable]
        return self.reader.first_since(durable, time) if durable else None


def check_text(name: str, text: Key) -> None:
    """What stands in the journal as text is text."""
    if isinstance(text, str) and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name} takes text that UTF-8 can have, but got {text!r}") from error
