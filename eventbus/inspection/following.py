"""The last messages of a journal, and then what comes, whichever process writes it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import Final

import anyio

from eventbus._journal.log import Log, Stored
from eventbus.inspection.moments import Test, instant
from eventbus.inspection.output import printable
from eventbus.message import message_of

__all__ = ["follow", "in_words", "last"]

LOOK: Final = 0.1
"""Seconds between two looks: no other process can wake this one."""


def last(log: Log, upto: int, count: int, wants: Test) -> Iterator[Stored]:
    """The last so many that are wanted, in order."""
    found: deque[Stored] = deque()
    found.extendleft(islice((stored for stored in log.read_back(upto) if wants(stored.record)), count))
    return iter(found)


async def follow(log: Log, after: int, wants: Test) -> AsyncGenerator[Stored | None, None]:
    """What comes after an offset, for ever; None when nothing more is there for now."""
    version = None
    while True:
        if (now := log.version()) != version:
            version, upto = now, log.last_offset()
            for stored in log.read(after, upto):
                if wants(stored.record):
                    yield stored
            after = upto
            yield None
        await anyio.sleep(LOOK)


def in_words(stored: Stored) -> bytes:
    """A message on one line, for people."""
    message = message_of(stored.record)
    parts = [str(message.offset), instant(message.time) or "never", printable(message.topic)]
    if message.key is not None:
        key = message.key if isinstance(message.key, str) else repr(message.key)
        parts.append(f"[{printable(key)}]")
    parts.append(printable(stored.data.decode(errors="backslashreplace")))
    if message.deaths:
        death = message.deaths[-1]
        parts.append(printable(f"({death.reason} in {death.queue}: {death.error or 'no reason given'})"))
    return "  ".join(parts).encode()
