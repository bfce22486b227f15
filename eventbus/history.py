"""Reading what topics retain: where a position lies, and a subscription's past."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

from eventbus._core.engine import Engine
from eventbus._core.lanes import Place
from eventbus._core.queue import QueueState
from eventbus._core.topic import TopicState
from eventbus.isolating import Isolating, own
from eventbus.message import Record
from eventbus.policy import Position

__all__ = ["Start", "load_history", "position_of"]

Start: TypeAlias = Position | int | datetime
"""EARLIEST, LATEST, an offset, or a time (a datetime without a zone is local time)."""

Since: TypeAlias = Position | int | float
"""A start with the datetime made seconds."""

PAGE = 256


def check_start(start: object, name: str = "start") -> Since:
    """Refuse what is no place in a topic's past; a datetime becomes seconds since the epoch."""
    if isinstance(start, datetime):
        try:
            return start.timestamp()
        except (OverflowError, ValueError, OSError) as error:
            raise ValueError(f"{name} takes a datetime that the system's clock can have, but got {start!r}") from error
    if isinstance(start, bool) or not isinstance(start, Position | int):
        raise TypeError(f"{name} takes EARLIEST, LATEST, an offset or a datetime, but got {start!r}")
    return start


def position_of(engine: Engine, topics: Sequence[TopicState], start: Since) -> int:
    """The offset after which reading begins. Under the lock."""
    if isinstance(start, float):
        kept = [topic.retained for topic in topics if topic.retained is not None]
        firsts = [first for ring in kept if (first := ring.first_since(start)) is not None]
        return min(firsts) - 1 if firsts else engine.offset
    if isinstance(start, Position):
        return 0 if start is Position.EARLIEST else engine.offset
    return int(start) - 1


def load_history(
    engine: Engine,
    queue: QueueState,
    number: int,
    topics: Sequence[TopicState],
    after: int,
    upto: int,
    isolating: Isolating,
    time: float,
) -> None:
    """Give a queue that loads, under a number, what topics retain between two offsets, filtered; then let it lend."""
    try:
        for topic in topics:
            for page in _pages(engine, topic, after, upto):
                if not queue.load(number, _wanted(engine, queue, topic, page, isolating), time):
                    return
    finally:
        queue.loaded(number)


def _pages(engine: Engine, topic: TopicState, after: int, upto: int) -> Iterator[list[Record]]:
    while page := [record for record in engine.archive.page([topic], after, PAGE) if _offset(record) <= upto]:
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
