"""The ids that queues and topics know again: written with the messages that had them, and read when it is opened.

Only what has not run out is read, so that memory holds no more than it would have without a restart. Rows are in the
order in which they run out, which is how they are deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from eventbus.errors import JournalCorruptError

if TYPE_CHECKING:
    from eventbus._core.dedup import Seen
    from eventbus._core.engine import Engine
    from eventbus._core.parcels import Parcel

__all__ = ["Channel", "Known", "delete_what_ran_out", "known_of", "recall", "write"]

Channel: TypeAlias = "int | str"
"""A queue, by its number, or a topic, by its name."""

Known: TypeAlias = tuple[float, Channel, str, int]
"""For how many seconds who knows which id again, and the offset of its message."""


def known_of(parcel: Parcel, id: str) -> list[Known]:
    """Who is to know the id of a message that is written."""
    topic = parcel.topic
    memories: list[tuple[Channel, Seen | None]] = [
        (depot.id, target.queue.seen)
        for target in parcel.targets
        if (depot := target.queue.depot) is not None and depot.id
    ]
    if topic is not None and topic.durable:
        memories.append((topic.name, topic.seen))
    return [(seen.window, channel, id, parcel.offset) for channel, seen in memories if seen is not None]


def write(connection: sqlite3.Connection, known: Sequence[Known], time: float) -> None:
    """Inside the transaction that writes their messages."""
    connection.executemany(
        "INSERT OR REPLACE INTO eventbus_ids VALUES (?, ?, ?, ?)",
        [(time + window, channel, id, offset) for window, channel, id, offset in known],
    )


def recall(engine: Engine, connection: sqlite3.Connection, path: str, time: float) -> None:
    """Let queues and topics know again what they knew."""
    with engine.lock:
        memories: dict[object, Seen] = {
            queue.depot.id: queue.seen
            for queue in engine.queues.values()
            if queue.depot is not None and queue.seen is not None
        }
        memories |= {t.name: t.seen for t in engine.wiring.topics.values() if t.durable and t.seen is not None}
    found: dict[object, list[tuple[int, str, float]]] = {channel: [] for channel in memories}
    for channel, id, offset, until in connection.execute(
        "SELECT channel, id, offset, until FROM eventbus_ids WHERE until > ?", (time,)
    ):
        if not (isinstance(id, str) and isinstance(offset, int) and isinstance(until, float)):
            raise JournalCorruptError(path, f"the id {id!r} of message {offset!r} cannot be read")
        if channel in found:
            found[channel].append((offset, id, until - time))
    with engine.lock:
        for channel, entries in found.items():
            memories[channel].recall(entries, engine.now)


def delete_what_ran_out(connection: sqlite3.Connection, time: float, limit: int) -> int:
    """Delete up to so many that nobody knows any more: how many were."""
    return connection.execute(
        "DELETE FROM eventbus_ids WHERE (until, channel, id) IN "
        "(SELECT until, channel, id FROM eventbus_ids WHERE until <= ? LIMIT ?)",
        (time, limit),
    ).rowcount
