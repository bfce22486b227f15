"""Reading what topics retain: where a position lies, and a subscription's past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from eventbus._core.engine import Engine
from eventbus._core.lanes import Place
from eventbus._core.queue import QueueState
from eventbus._core.topic import TopicState
from eventbus.isolating import Isolating, own
from eventbus.message import Key, Record
from eventbus.policy import Position

if TYPE_CHECKING:
    from datetime import datetime

    from eventbus._core.posting import Posting
    from eventbus.journaling import Journaling

__all__ = ["Past", "Start", "page_of", "position_of"]

Start: TypeAlias = "Position | int | datetime"
"""EARLIEST, LATEST, an offset, or a time (a datetime without a zone is local time)."""

Since: TypeAlias = Position | int | float
"""A start with the datetime made seconds."""

PAGE = 256
"""Messages that are read at once under the lock."""

MOST_OFFSET: Final = (1 << 63) - 1
"""SQLite's integers have an end."""


def check_start(start: object, name: str = "start") -> Since:
    """Refuse what is no place in a topic's past; a datetime becomes seconds since the epoch."""
    if isinstance(start, Position):
        return start
    from datetime import datetime  # it takes a twentieth of the import of all

    if isinstance(start, datetime):
        try:
            return start.timestamp()
        except (OverflowError, ValueError, OSError) as error:
            raise ValueError(f"{name} takes a datetime that the system's clock can have, but got {start!r}") from error
    if isinstance(start, bool) or not isinstance(start, int):
        raise TypeError(f"{name} takes EARLIEST, LATEST, an offset or a datetime, but got {start!r}")
    if abs(start) > MOST_OFFSET:
        raise ValueError(f"{name} takes EARLIEST, LATEST, an offset of 63 bits or a datetime, but got {start!r}")
    return start


def position_of(engine: Engine, topics: Sequence[TopicState], start: Since, journaling: Journaling | None) -> int:
    """The offset after which reading begins."""
    if isinstance(start, float):
        on_disk = None if journaling is None else journaling.first_since(topics, start)
        with engine.lock:
            kept = [topic.retained for topic in topics if topic.retained is not None]
            firsts = [first for ring in kept if (first := ring.first_since(start)) is not None]
            if on_disk is not None:
                firsts.append(on_disk)
            return min(firsts) - 1 if firsts else engine.offset
    if isinstance(start, Position):
        return 0 if start is Position.EARLIEST else engine.offset
    return int(start) - 1


def page_of(
    engine: Engine, topics: Sequence[TopicState], after: int, journaling: Journaling | None, key: Key = None
) -> Iterator[list[Record]]:
    """The next messages that topics keep after an offset, wherever they keep them, in batches that are not empty."""
    if journaling is None:
        records = engine.archive.page(topics, after, PAGE)
        return iter([records] if records else [])
    return journaling.page(topics, after, key)


class Past:
    """What topics keep, on its way into a queue that begins, or begins anew."""

    def __init__(self, engine: Engine, patterns: Sequence[str], start: Since, journaling: Journaling | None) -> None:
        self.engine = engine
        self.journaling = journaling
        self.patterns = patterns
        self.start = start
        self.upto = 0

    def begin(self, queue: QueueState, number: int, again: bool) -> Posting | None:
        """Under the lock in which the queue began to load: what a durable queue has to wait for."""
        engine, depot = self.engine, queue.depot
        self.upto = engine.offset
        if depot is None or engine.outbox is None:
            return None
        return engine.outbox.sought(depot, self._after(), number, again)

    def _after(self) -> int | float:
        """The offset after which it begins, or a time, which the journal knows better."""
        if isinstance(self.start, Position):
            return self.upto if self.start is Position.LATEST else 0
        return self.start if isinstance(self.start, float) else self.start - 1

    def load(self, queue: QueueState, number: int, isolating: Isolating, now: Callable[[], float]) -> None:
        """Give a queue that is in memory what lies between, filtered; then let it lend. The journal does the others.

        What is in a journal that is not open yet comes once it is.
        """
        if queue.depot is not None:
            return
        load = partial(self._load, queue, number, isolating, now)
        if self.start is Position.LATEST:
            queue.loaded(number)
        elif self.journaling is None or self._in_memory():
            load()
        else:
            self.journaling.once_open(load)

    def _in_memory(self) -> bool:
        """Whether nothing that it is to have can be in a journal."""
        topics = self.engine.wiring.topics_matching(self.patterns)
        return {topic.name for topic in topics if not topic.durable}.issuperset(self.patterns)

    def _load(self, queue: QueueState, number: int, isolating: Isolating, now: Callable[[], float]) -> None:
        engine = self.engine
        try:
            topics = engine.wiring.topics_matching(self.patterns)
            after = position_of(engine, topics, self.start, self.journaling)
            for topic in topics:
                for page in self._pages(topic, after):
                    if not queue.load(number, _wanted(engine, queue, topic, page, isolating), now()):
                        return
        finally:
            queue.loaded(number)

    def _pages(self, topic: TopicState, after: int) -> Iterator[list[Record]]:
        upto, outbox = self.upto, self.engine.outbox
        if topic.durable and outbox is not None:
            upto = max(upto, outbox.began)  # it may not have been open when this was to begin
        while page := [
            record
            for batch in page_of(self.engine, [topic], after, self.journaling)
            for record in batch
            if _offset(record) <= upto
        ]:
            yield page
            after = _offset(page[-1])


def _wanted(
    engine: Engine, queue: QueueState, topic: TopicState, page: list[Record], isolating: Isolating
) -> list[tuple[Record, Place]]:
    route = next((route for route in engine.wiring.routes(topic) if route.queue is queue), None)
    if route is None:  # unbound meanwhile
        return []
    return [
        (own(record, isolating, topic, queue.type), None if queue.place is None else queue.place(record[3]))
        for record in page
        if route.wants(record)
    ]


def _offset(record: Record) -> int:
    return record[0] or 0
