"""Reading what topics retain, in the order of offsets, and waiting for more of it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from eventbus._core.backlog import offset_of
from eventbus._core.topic import TopicState
from eventbus._core.waiting import Line, Waiter
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.engine import Engine


class Archive:
    """The past of all topics of one bus, as replays read it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.followers = Line()
        """Replays that wait for something new to be retained, in whichever topic."""

    def page(self, topics: Iterable[TopicState], after: int, limit: int) -> list[Record]:
        """The next retained records after an offset, over several topics."""
        with self.engine.lock:
            self.engine.require_open()
            pages = [topic.retained.page(after, limit) for topic in topics if topic.retained is not None]
            merged = heapq.merge(*pages, key=offset_of)
            return [record for _, record in zip(range(limit), merged, strict=False)]

    def edge(self) -> int:
        """The offset up to which nothing more is to come, in whichever topic: what follows one of many goes so far."""
        outbox = self.engine.outbox
        with self.engine.lock:
            return self.engine.offset if outbox is None else outbox.written()

    def follow(self, patterns: Sequence[str], after: int, last: int | None, waiter: Waiter) -> bool:
        """Whether something newer than an offset is retained, or `last` has gone by; parks the waiter if neither."""
        with self.engine.lock:
            topics = self.engine.wiring.topics_matching(patterns)
            edge = self.edge()
            ended = last is not None and edge >= last
            found = ended or any(min(topic.last_kept(), edge) > after for topic in topics)
            if found:
                self.followers.leave(waiter)
            else:
                self.followers.park(waiter)
            return found

    def leave(self, waiter: Waiter) -> None:
        """A replay gave up."""
        with self.engine.lock:
            self.followers.leave(waiter)
