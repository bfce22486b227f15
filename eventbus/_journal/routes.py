"""Where messages went: few, numbered, and each written once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import TypeAlias, TypeVar
from zlib import crc32

from eventbus.errors import JournalCorruptError

__all__ = ["Route", "Routes"]

K = TypeVar("K")

Route: TypeAlias = tuple[str, bool, tuple[int, ...]]
"""The topic or queue that a message was sent to, whether a topic keeps it, and the queues that it went to."""


class Routes:
    """All the routes of one journal. A number is never given twice, since others may remember it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.numbers: dict[Route, int] = {}
        self.routes: dict[int, Route] = {}
        self.last = 0
        """The last number that was given."""
        self.by_queue: dict[int, dict[int, None]] = {}
        self.by_topic: dict[str, dict[int, None]] = {}
        """Of those that are kept."""
        self.fresh: list[int] = []
        """Those that the commit under way has added."""

    def load(self, connection: sqlite3.Connection) -> None:
        """Read those that others have added since, or all."""
        rows = connection.execute(
            "SELECT id, channel, kept, queues, crc FROM eventbus_routes WHERE id > ? ORDER BY id", (self.last,)
        )
        for number, channel, kept, queues, crc in rows.fetchall():
            if crc_of(number, channel, kept, queues) != crc:
                raise JournalCorruptError(self.path, f"route {number} is not what was written (its CRC differs)")
            self._add(number, (channel, bool(kept), tuple(json.loads(queues))))

    def _add(self, number: int, route: Route) -> None:
        channel, kept, queues = route
        self.numbers[route] = number
        self.routes[number] = route
        self.last = max(self.last, number)
        for queue in queues:
            self.by_queue.setdefault(queue, {})[number] = None
        if kept:
            self.by_topic.setdefault(channel, {})[number] = None

    def forget(self, numbers: Iterable[int]) -> None:
        """They are no longer there."""
        for number in numbers:
            route = channel, kept, queues = self.routes.pop(number)
            del self.numbers[route]
            for queue in queues:
                _take_out(self.by_queue, queue, number)
            if kept:
                _take_out(self.by_topic, channel, number)

    def number(self, route: Route, connection: sqlite3.Connection) -> int:
        """The number of a route, written if it is new."""
        number = self.numbers.get(route)
        if number is None:
            number = self.last + 1
            channel, kept = route[0], int(route[1])
            queues = json.dumps(route[2], separators=(",", ":"))
            connection.execute(
                "INSERT INTO eventbus_routes VALUES (?, ?, ?, ?, ?)",
                (number, channel, kept, queues, crc_of(number, channel, kept, queues)),
            )
            self._add(number, route)
            self.fresh.append(number)
        return number

    def channel(self, number: int) -> str:
        """What was sent to."""
        if number not in self.routes:
            raise JournalCorruptError(self.path, f"there is no route {number}")
        return self.routes[number][0]

    def committed(self) -> None:
        """Those that were added are there."""
        self.fresh.clear()

    def rolled_back(self) -> None:
        """They are not."""
        self.forget(self.fresh)
        self.fresh.clear()

    def to_queue(self, queue: int) -> list[int]:
        """The routes that lead to a queue."""
        return [*self.by_queue.get(queue, ())]

    def kept(self, wanted: Callable[[str], bool]) -> list[int]:
        """The routes of topics that keep what is sent to them."""
        return sorted(number for channel, numbers in self.by_topic.items() if wanted(channel) for number in numbers)


def _take_out(routes: dict[K, dict[int, None]], key: K, number: int) -> None:
    del routes[key][number]
    if not routes[key]:
        del routes[key]


def crc_of(*facts: object) -> int:
    """What a route is checked against."""
    return crc32(repr(facts).encode())
