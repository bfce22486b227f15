"""Which delivery the running code handles, so that what it publishes can name its cause.

The delivery is kept in a context variable, so child tasks, and the threads of `asyncio.to_thread` and
`anyio.to_thread`, inherit it. It is set once for each delivery that a handler gets, and never reset: a handler's task
or thread does nothing between two deliveries but wait.

A message is named by its ``id`` or, if its publisher gave none, by its offset as text.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eventbus._core.engine import Engine
from eventbus._core.leases import Lease
from eventbus._core.requests import Request
from eventbus.message import Rare

if TYPE_CHECKING:
    from eventbus._core.topic import TopicState
    from eventbus.message import Headers, Key

__all__ = ["CURRENT", "Broadcast", "cause_in", "heir", "publish_traced", "put_traced"]

Broadcast: TypeAlias = "Callable[[TopicState, Any, Headers, int, float], int]"
"""The short way into all queues of a topic."""

CURRENT: Final[ContextVar[Lease | None]] = ContextVar("eventbus.delivery", default=None)
"""The delivery that is handled here."""


def cause_in(engine: Engine) -> Lease | None:
    """The delivery that is handled here, if it is of this bus."""
    cause = CURRENT.get()
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


def put_traced(engine: Engine, put: Callable[..., int]) -> Callable[[Any, Key, int, float], int]:
    """The short way into a queue, with a look for the cause."""
    current = CURRENT.get

    def swift(body: Any, key: Key, priority: int, time: float) -> int:
        if current() is None:
            return put(body, key, priority, time)
        return put(body, key, priority, time, heir(cause_in(engine)))

    return swift


def publish_traced(engine: Engine, broadcast: Callable[..., int]) -> Broadcast:
    """The same for a topic."""
    current = CURRENT.get

    def swift(topic: TopicState, body: Any, headers: Headers, priority: int, time: float) -> int:
        if current() is None:
            return broadcast(topic, body, headers, priority, time)
        return broadcast(topic, body, headers, priority, time, heir(cause_in(engine)))

    return swift
