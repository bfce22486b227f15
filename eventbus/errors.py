"""Every error the bus raises on purpose. Each carries its facts as attributes and says what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "ClosedError",
    "CodecError",
    "DeclarationError",
    "EmptyError",
    "EventBusError",
    "FilterError",
    "FullError",
    "SettlementError",
    "StaleDeliveryError",
    "UnroutableError",
]


class EventBusError(Exception):
    """The base of all errors of the bus."""


class ClosedError(EventBusError):
    """The bus, queue or consumer was closed; make a new one.

    ``what`` names the thing that is closed.
    """

    def __init__(self, what: str, message: str | None = None) -> None:
        super().__init__(message or f"{what} is closed, so nothing can be sent, taken or settled any more")
        self.what = what


class FullError(EventBusError):
    """A queue had no room and the call may not wait, or waiting could never end.

    ``queue`` and ``capacity`` say which queue is full, and ``needed`` how many messages were to enter it at once;
    ``cycle`` names the queues whose consumers all wait for each other's room, and is empty when the queue is merely
    full.
    """

    def __init__(self, queue: str, capacity: int | None, cycle: Sequence[str] = (), needed: int = 1) -> None:
        if capacity is not None and needed > capacity:
            text = (
                f"{needed} messages were to enter queue {queue!r} together, which never has room for more than "
                f"{capacity}; send fewer at once, or declare it with a larger capacity"
            )
        elif cycle:
            ring = " -> ".join([*cycle, cycle[0]])
            text = (
                f"queue {queue!r} is full ({capacity} messages) and waiting could never end: every consumer that "
                f"could make room waits for room itself ({ring}); raise a capacity, let another task consume, "
                f"or publish with put_nowait() and handle FullError"
            )
        else:
            text = (
                f"queue {queue!r} is full ({capacity} messages); await put() to wait for room, consume faster, "
                f"or declare it with a larger capacity or an overflow that drops"
            )
        super().__init__(text)
        self.queue = queue
        self.capacity = capacity
        self.cycle = tuple(cycle)
        self.needed = needed


class EmptyError(EventBusError):
    """``get_nowait()`` found nothing that may be taken now. ``queue`` names the queue."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r} has nothing to take right now; await get() to wait for a message")
        self.queue = queue


class DeclarationError(EventBusError, ValueError):
    """A queue, topic, subscription or consumer was declared in a way that contradicts what is there.

    ``name`` is the thing declared; ``declared`` and ``requested`` are the two sides, where there are two.
    """

    def __init__(self, message: str, *, name: str, declared: Any = None, requested: Any = None) -> None:
        super().__init__(message)
        self.name = name
        self.declared = declared
        self.requested = requested


class SettlementError(EventBusError):
    """A delivery was settled once already, in another way.

    ``queue``, ``offset`` name the delivery; ``settled`` is how it was settled, ``attempted`` the refused call.
    """

    def __init__(self, queue: str, offset: int, settled: str, attempted: str, message: str | None = None) -> None:
        super().__init__(
            message
            or f"delivery {offset} of queue {queue!r} was settled with {settled}() and cannot be settled again with "
            f"{attempted}(); settle each delivery once"
        )
        self.queue = queue
        self.offset = offset
        self.settled = settled
        self.attempted = attempted


class StaleDeliveryError(SettlementError):
    """The message went elsewhere before this call.

    Its lease ran out, its consumer closed, or its queue was sought or removed.
    """

    def __init__(self, queue: str, offset: int, attempted: str) -> None:
        super().__init__(
            queue,
            offset,
            "stale",
            attempted,
            f"delivery {offset} of queue {queue!r} is no longer yours, so {attempted}() changes nothing: its lease ran "
            f"out, its consumer was closed, or its queue was sought or unsubscribed; expect the message again",
        )


class UnroutableError(EventBusError):
    """No queue is there for it: ``topic`` names where it was sent to.

    ``mandatory=True``, and no queue is bound to the topic with a filter that matches; or a request to a topic that not
    exactly one queue wants, or, with ``mandatory=True``, to a queue without a consumer.
    """

    def __init__(self, topic: str, message: str | None = None) -> None:
        super().__init__(
            message
            or f"no queue matched the message published to topic {topic!r}, and it was mandatory; "
            f"subscribe before publishing, or publish without mandatory=True"
        )
        self.topic = topic


class FilterError(EventBusError, ValueError):
    """A filter is not one: ``text`` is what was given, ``position`` the column where it went wrong, if known."""

    def __init__(self, message: str, *, text: str | None = None, position: int | None = None) -> None:
        super().__init__(message)
        self.text = text
        self.position = position


class CodecError(EventBusError, ValueError):
    """A body could not be turned into bytes, or bytes could not be turned back.

    ``channel`` is the queue or topic, and ``type`` what it is declared with. Of what could not be decoded ``data`` are
    the raw bytes and ``offset`` tells where it is; of what could not be encoded both are None.
    """

    def __init__(
        self, message: str, *, channel: str, type: Any, data: bytes | None = None, offset: int | None = None
    ) -> None:
        super().__init__(message)
        self.channel = channel
        self.type = type
        self.data = data
        self.offset = offset


class JournalError(EventBusError):
    """The journal could not be read or written; what the call was to do has not happened, or is not known to have."""


class JournalLockedError(JournalError):
    """Another process has the journal open: ``pid`` is its number, if it is known, and ``path`` the journal's file."""

    def __init__(self, path: str, pid: int | None) -> None:
        owner = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"journal {path!r} is open in {owner}, and a journal has one owner; end that process, "
            f"close its bus, or give this bus a file of its own"
        )
        self.path = path
        self.pid = pid


class JournalCorruptError(JournalError):
    """What the journal's file has is not what was written: ``path`` is the file, ``detail`` what was found."""

    def __init__(self, path: str, detail: str, message: str | None = None) -> None:
        super().__init__(
            message
            or f"journal {path!r} is damaged: {detail}; restore it from a copy, "
            f"or see what is left of it with: python -m eventbus journal verify {path}"
        )
        self.path = path
        self.detail = detail


class FailedError(JournalError, ClosedError):
    """The journal has failed, and with it the bus has ended."""

    def __init__(self, why: str) -> None:
        ClosedError.__init__(self, "the bus", why)
