"""A message: immutable, and the same for every queue it goes to.

At rest a message is a `Record`, a plain tuple: the cheapest immutable thing CPython can make (55 ns and 112 bytes,
where a frozen attrs class takes 1,000 ns). `Message` is the view of it that users hold, made when they ask for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar

import attrs

__all__ = ["NO_HEADERS", "Death", "Message", "Past", "Rare", "Record", "Undecoded"]

T = TypeVar("T")

Key: TypeAlias = str | bytes | None
Headers: TypeAlias = Mapping[str, Any]

NO_HEADERS: Headers = MappingProxyType({})


@attrs.frozen
class Death:
    """One end a message came to: where and why it became a dead letter.

    ``queue`` is where it died, ``reason`` one of rejected, failed, expired, overflow; ``offset`` what it had there,
    ``attempts`` how often it was delivered there, ``error`` the text given with it; ``first_time`` when it entered
    that queue and ``time`` when it died, in seconds since the epoch.
    """

    queue: str
    reason: str
    offset: int
    attempts: int
    error: str | None
    first_time: float
    time: float


@attrs.frozen
class Rare:
    """What few messages have, kept apart so that the others do not pay for it."""

    id: str | None = None
    expires: float | None = None
    deaths: tuple[Death, ...] = ()
    correlation_id: str | None = None
    causation_id: str | None = None
    request: Any = attrs.field(default=None, eq=False, repr=False)
    """Where the answer goes, if it is a request; opaque here."""


@attrs.frozen
class Past:
    """What happened to a message in one queue before this delivery: times handed out, and times failed."""

    attempts: int
    failures: int
    error: str | None = None


class Undecoded(bytes):
    """The raw bytes of a body that could not be decoded, and the ``error`` that says why. It is dead on arrival."""

    error: str

    def __new__(cls, data: bytes, error: str) -> Undecoded:
        self = super().__new__(cls, data)
        self.error = error
        return self


NOTHING_RARE = Rare()

# offset (None before it has one), time, body, key, headers, priority, topic, rare, past
Record: TypeAlias = tuple[int | None, float, Any, Key, Headers, int, str, Rare | None, Past | None]


class Message(Generic[T]):
    """A message as it was published. Immutable; its body is passed by reference unless the bus isolates it.

    ``Message(body, ...)`` makes one by hand, to try a filter in a test; the bus makes its own.
    """

    __slots__ = ("_record",)
    _record: Record

    def __init__(
        self,
        body: T,
        *,
        topic: str = "",
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        time: float = 0.0,
        offset: int | None = None,
    ) -> None:
        rare = None if id is None else Rare(id=id)
        record = (offset, time, body, key, freeze(headers), priority, topic, rare, None)
        object.__setattr__(self, "_record", record)

    @property
    def offset(self) -> int:
        """Its place in the order of the whole bus."""
        return self._record[0]  # type: ignore[return-value]  # a filter alone sees a message before it has one

    @property
    def time(self) -> float:
        """When it was published, in seconds since the epoch, by the bus's clock."""
        return self._record[1]

    @property
    def body(self) -> T:
        """What was published."""
        return self._record[2]  # type: ignore[no-any-return]

    @property
    def key(self) -> Key:
        """What chooses its lane in a keyed queue."""
        return self._record[3]

    @property
    def headers(self) -> Headers:
        """A read-only mapping; empty when none were given."""
        return self._record[4]

    @property
    def priority(self) -> int:
        """Higher goes first in a priority queue."""
        return self._record[5]

    @property
    def topic(self) -> str:
        """The topic or queue it was sent to."""
        return self._record[6]

    @property
    def id(self) -> str | None:
        """The publisher's own id, if it gave one."""
        return (self._record[7] or NOTHING_RARE).id

    @property
    def expires(self) -> float | None:
        """When it expires, in seconds since the epoch; None for never."""
        return (self._record[7] or NOTHING_RARE).expires

    @property
    def deaths(self) -> tuple[Death, ...]:
        """Where it died before, oldest first."""
        return (self._record[7] or NOTHING_RARE).deaths

    @property
    def correlation_id(self) -> str | None:
        """Shared by all messages that one event led to."""
        return (self._record[7] or NOTHING_RARE).correlation_id

    @property
    def causation_id(self) -> str | None:
        """The message whose handling published this one."""
        return (self._record[7] or NOTHING_RARE).causation_id

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a message is immutable: cannot set {name!r}; publish a new one instead")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a message is immutable: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self._record[:8] == other._record[:8]

    def __hash__(self) -> int:
        return hash((self._record[0], self._record[6]))

    def __repr__(self) -> str:
        return f"<Message {self.offset} of {self.topic!r}: {self.body!r}>"


_new: Final = Message.__new__
_set_record: Final[Callable[[Message[Any], Record], None]] = Message.__dict__["_record"].__set__


def message_of(record: Record) -> Message[Any]:
    """The view of a record."""
    message: Message[Any] = _new(Message)
    _set_record(message, record)
    return message


def messages_of(records: Sequence[Record]) -> list[Message[Any]]:
    """The views of many, without a step of the interpreter for each."""
    messages: list[Message[Any]] = list(map(_new, repeat(Message, len(records))))
    deque(map(_set_record, messages, records), maxlen=0)
    return messages


def mortal(record: Record, expires: float) -> Record:
    """The record of a message that expires, by then at the latest."""
    rare = record[7] or NOTHING_RARE
    if rare.expires is not None and rare.expires <= expires:
        return record
    return (*record[:7], attrs.evolve(rare, expires=expires), record[8])


def freeze(headers: Headers | None) -> Headers:
    """Own, read-only headers, so that the publisher's later changes reach nobody."""
    return MappingProxyType(dict(headers)) if headers else NO_HEADERS
