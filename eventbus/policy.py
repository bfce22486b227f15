"""What a queue promises: its order, its room, and what happens when there is none. Values, validated when made."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from eventbus.errors import DeclarationError

__all__ = [
    "DEAD_LETTERS",
    "EARLIEST",
    "LATEST",
    "Fifo",
    "Isolation",
    "Keyed",
    "Order",
    "Overflow",
    "Policy",
    "Position",
    "Priority",
    "Retention",
    "murmur2",
]

DEAD_LETTERS: Final = "dead-letters"
"""The queue of every bus that dead messages go to unless their queue's policy names another."""

Partitioner: TypeAlias = Callable[[bytes], int] | Callable[[bytes, int], int]


class Overflow(enum.Enum):
    """What a full queue does with one message more."""

    WAIT = "wait"
    """The publisher waits, in the order of arrival."""
    FAIL = "fail"
    """The publisher gets `FullError`."""
    DROP_OLDEST = "drop oldest"
    """The oldest message that waits is dropped and counted; with priorities, the oldest of the lowest."""
    DROP_NEWEST = "drop newest"
    """The new message is dropped and counted."""


class Isolation(enum.Enum):
    """How far a body is kept apart between a publisher and its receivers."""

    NONE = "none"
    """By reference: the fastest, and right for bodies that nobody changes."""
    COPY = "copy"
    """Every queue gets a deep copy of its own, made when the message is published."""


class Position(enum.Enum):
    """A place in what a topic retains."""

    EARLIEST = "earliest"
    LATEST = "latest"

    def __repr__(self) -> str:
        return self.name


EARLIEST: Final = Position.EARLIEST
LATEST: Final = Position.LATEST


def _whole(least: int, *, optional: bool = False) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator: a whole number of at least `least`, or None where that is allowed."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None and optional:
            return
        wanted = f"a whole number of at least {least}" + (", or None" if optional else "")
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{type(instance).__name__}.{field.name} takes {wanted}, but got {value!r}")
        if value < least:
            raise ValueError(f"{type(instance).__name__}.{field.name} takes {wanted}, but got {value!r}")

    return check


def _one_of(*types: type) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator: an instance of one of `types`."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, types):
            names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
            raise TypeError(f"{type(instance).__name__}.{field.name} takes {names}, but got {value!r}")

    return check


@attrs.frozen
class Fifo:
    """First in, first out, by offset. A message that comes back takes its original place."""


@attrs.frozen
class Priority:
    """Higher priority first, first in first out inside one; any integer. A body is never compared."""


def _takes_partitions(partitioner: Partitioner) -> bool:
    """Whether a partitioner wants the number of partitions too, from its required positional parameters."""
    try:
        parameters = inspect.signature(partitioner).parameters.values()
    except (TypeError, ValueError):  # a builtin that tells no signature, as zlib.crc32 on some versions
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters) == 2


@attrs.frozen
class Keyed:
    """Messages of one lane are delivered one after another, retries included; lanes are served in turn.

    ``partitions``: a lane is ``crc32(key) % partitions``, as librdkafka's consistent partitioner has it; None gives
    every key its own lane, as an SQS message group. ``sticky`` keeps a lane with one consumer while that consumer
    lives, and needs ``partitions``. ``partitioner`` replaces crc32: it takes the key as bytes, and the number of
    partitions if it wants it, and returns an integer; a negative one is made positive as the Java client does.
    A message without a key is its own lane.
    """

    partitions: int | None = attrs.field(default=None, validator=_whole(1, optional=True))
    sticky: bool = attrs.field(default=False, validator=_one_of(bool))
    partitioner: Partitioner | None = None
    _takes_count: bool = attrs.field(init=False, eq=False, repr=False, default=False)

    def __attrs_post_init__(self) -> None:
        if self.sticky and self.partitions is None:
            raise ValueError("Keyed.sticky takes True only with partitions=N, but partitions is None")
        if self.partitioner is not None:
            if not callable(self.partitioner):
                raise TypeError(f"Keyed.partitioner takes a callable or None, but got {self.partitioner!r}")
            if self.partitions is None:
                raise ValueError("Keyed.partitioner needs partitions=N, but partitions is None")
            object.__setattr__(self, "_takes_count", _takes_partitions(self.partitioner))

    def place(self, key: bytes) -> int:
        """The lane of a key, for a custom partitioner. Runs the user's code."""
        assert self.partitioner is not None
        assert self.partitions is not None
        call: Any = self.partitioner
        number = call(key, self.partitions) if self._takes_count else call(key)
        if not isinstance(number, int):
            raise TypeError(f"partitioner {self.partitioner!r} must return an integer, but returned {number!r}")
        return (number if number >= 0 else number & 0x7FFFFFFF) % self.partitions


Order: TypeAlias = Fifo | Priority | Keyed


def _queue_name(policy: Policy, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        if not isinstance(value, str):
            raise TypeError(f"Policy.dead_letter takes the name of a queue or None, but got {value!r}")
        check_name("Policy.dead_letter", value)


@attrs.frozen
class Policy:
    """What a queue promises.

    ``capacity`` is how many messages may wait in it (None: any number); what is out with a consumer is not counted.
    ``dead_letter`` names the queue that dead messages go to; None discards and counts them. Messages dropped by
    ``overflow`` go there only if it is not the bus's own ``dead-letters``.
    """

    order: Order = attrs.field(factory=Fifo, validator=_one_of(Fifo, Priority, Keyed))
    capacity: int | None = attrs.field(default=65_536, validator=_whole(1, optional=True))
    overflow: Overflow = attrs.field(default=Overflow.WAIT, validator=_one_of(Overflow))
    dead_letter: str | None = attrs.field(default=DEAD_LETTERS, kw_only=True, validator=_queue_name)


@attrs.frozen
class Retention:
    """How much of its past a topic keeps for replay: the last ``count`` messages."""

    count: int = attrs.field(validator=_whole(1))


LONGEST_NAME: Final = 255


def check_name(what: str, name: object) -> str:
    """Refuse what can't name a queue or topic: RabbitMQ's limit of 255 bytes, and nothing that can't be printed."""
    if not isinstance(name, str):
        raise TypeError(f"{what} takes a name, but got {name!r}")
    wanted = f"{what} takes a name of 1 to {LONGEST_NAME} bytes, all printable"
    size = len(name.encode("utf-8", "surrogatepass"))
    if not name or size > LONGEST_NAME:
        raise DeclarationError(f"{wanted}, but got one of {size} bytes", name=name)
    if not name.isprintable():
        raise DeclarationError(f"{wanted}, but got {name!r}", name=name)
    return name


def murmur2(key: bytes | str) -> int:
    """The hash of the Java client's default partitioner, a signed 32-bit integer; str is taken as UTF-8.

    Source: ``org.apache.kafka.common.utils.Utils.murmur2``.
    """
    data = key.encode() if isinstance(key, str) else key
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return h - (1 << 32) if h >= 1 << 31 else h
