"""Which delivery the running code handles, so that what it publishes can name its cause.

The delivery is kept in a context variable, so child tasks, and the threads of `asyncio.to_thread` and
`anyio.to_thread`, inherit it. It is set once for each delivery that a handler gets, and never reset: a handler's task
or thread does nothing between two deliveries but wait.

A message is named by its ``id`` or, if its publisher gave none, by its offset as text.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from eventbus._core.engine import Engine
from eventbus._core.leases import Lease
from eventbus._core.requests import Request
from eventbus.message import Rare

__all__ = ["CURRENT", "cause_in", "current", "heir"]

CURRENT: Final[ContextVar[Lease | None]] = ContextVar("eventbus.delivery", default=None)
"""The delivery that is handled here."""

current: Final = CURRENT.get


def cause_in(engine: Engine) -> Lease | None:
    """The delivery that is handled here, if it is of this bus."""
    cause = current()
    return cause if cause is not None and cause._holder.queue.engine is engine else None


def heir(
    cause: Lease | None, id: str | None = None, expires: float | None = None, request: Request | None = None
) -> Rare | None:
    """What a message has that few have, with what it inherits from its cause."""
    if cause is None:
        common = id is None and expires is None and request is None
        return None if common else Rare(id, expires, request=request)
    rare = cause.record[7]
    name = str(cause.record[0]) if rare is None or rare.id is None else rare.id
    correlation = name if rare is None or rare.correlation_id is None else rare.correlation_id
    return Rare(id, expires, (), correlation, name, request)
