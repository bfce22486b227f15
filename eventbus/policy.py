"""What a queue promises: its order, its room, and what happens when there is none. Values, validated when made."""

from __future__ import annotations

import enum
import inspect
import random
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from eventbus.errors import DeclarationError

__all__ = [
    "DEAD_LETTERS",
    "EARLIEST",
    "LATEST",
    "Backoff",
    "Fifo",
    "Isolation",
    "Keyed",
    "Order",
    "Overflow",
    "Policy",
    "Position",
    "Priority",
    "Retention",
    "Retry",
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
    CODEC = "codec"
    """Every queue gets what the bus's codec makes of it, as through a real broker: encoded once, decoded for each."""


class Position(enum.Enum):
    """A place in what a topic retains."""

    EARLIEST = "earliest"
    LATEST = "latest"

    def __repr__(self) -> str:
        return self.name


EARLIEST: Final = Position.EARLIEST
LATEST: Final = Position.LATEST


def _whole(least: int) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator: a whole number of at least `least`, or None."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None:
            return
        wanted = f"a whole number of at least {least}, or None"
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

    partitions: int | None = attrs.field(default=None, validator=_whole(1))
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


MOST: Final = sys.float_info.max
"""An integer may be more, and then no float can be made of it."""


def _seconds(*, positive: bool, optional: bool = False) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator: a finite number of seconds, or None where that is allowed."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not (value is None and optional):
            check_seconds(f"{type(instance).__name__}.{field.name}", value, positive=positive, optional=optional)

    return check


def check_seconds(name: str, value: object, *, positive: bool = False, optional: bool = True) -> float:
    """Refuse what is no finite number of seconds."""
    wanted = f"{name} takes seconds, {'more than 0' if positive else 'at least 0'}" + (", or None" if optional else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{wanted}, but got {value!r}")
    if not 0 <= value <= MOST or (positive and not value):
        raise ValueError(f"{wanted}, but got {value!r}")
    return value


def _at_least(least: float, most: float = MOST) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator: a number in a range."""

    def check(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
        upto = f" and at most {most:g}" if most < MOST else ""
        wanted = f"{type(instance).__name__}.{field.name} takes a number of at least {least:g}{upto}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{wanted}, but got {value!r}")
        if not least <= value <= most:
            raise ValueError(f"{wanted}, but got {value!r}")

    return check


@attrs.frozen
class Backoff:
    """How long to wait before the next try: ``first`` seconds, ``factor`` times longer each time, at most ``limit``.

    ``jitter`` is by what part of that a wait is made longer at random, so that what failed together does not come
    back together.
    """

    first: float = attrs.field(default=0.1, validator=_seconds(positive=False))
    factor: float = attrs.field(default=2.0, validator=_at_least(1))
    limit: float = attrs.field(default=60.0, validator=_seconds(positive=False))
    jitter: float = attrs.field(default=0.1, validator=_at_least(0, 1))

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures."""
        try:
            wait = min(self.limit, self.first * self.factor ** (failures - 1))
        except OverflowError:
            wait = self.limit
        return wait * (1 + self.jitter * random.random())  # noqa: S311  # nothing secret


@attrs.frozen
class Retry:
    """What becomes of a message that failed: tried again after a ``backoff``, until ``attempts`` of it have failed.

    Then it goes to the dead letters. ``attempts`` 1 never tries again, None always does.
    """

    attempts: int | None = attrs.field(default=5, validator=_whole(1))
    backoff: Backoff = attrs.field(factory=Backoff, validator=_one_of(Backoff))


def _queue_name(policy: Policy, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        if not isinstance(value, str):
            raise TypeError(f"Policy.dead_letter takes the name of a queue or None, but got {value!r}")
        check_name("Policy.dead_letter", value)


@attrs.frozen
class Policy:
    """What a queue promises.

    ``capacity`` is how many messages may wait in it (None: any number); what is out with a consumer is not counted.
    ``retry`` says how often a failed message is tried again, and when.
    ``lease`` is how many seconds a consumer has to settle a delivery before it counts as failed; None: for ever.
    ``ttl`` is how many seconds after it was sent, or its delay was over, a message expires; None: never.
    ``dedup`` is for how many seconds the queue knows an ``id`` again: a message that repeats it does not enter, and
    whoever puts it gets the first one's offset; None: never.
    ``dead_letter`` names the queue that dead messages go to; None discards and counts them. Messages dropped by
    ``overflow`` go there only if it is not the bus's own ``dead-letters``.
    ``single_active``: one consumer at a time gets messages, the first to come; when it ends, the next takes over, of
    those with the highest priority the first. So there is no plain ``get()``. As RabbitMQ's single active consumer.
    ``durable``: whether its messages survive the process; None means yes on a bus that has a journal.
    """

    order: Order = attrs.field(factory=Fifo, validator=_one_of(Fifo, Priority, Keyed))
    capacity: int | None = attrs.field(default=65_536, validator=_whole(1))
    overflow: Overflow = attrs.field(default=Overflow.WAIT, validator=_one_of(Overflow))
    retry: Retry = attrs.field(factory=Retry, kw_only=True, validator=_one_of(Retry))
    dead_letter: str | None = attrs.field(default=DEAD_LETTERS, kw_only=True, validator=_queue_name)
    lease: float | None = attrs.field(default=None, kw_only=True, validator=_seconds(positive=True, optional=True))
    ttl: float | None = attrs.field(default=None, kw_only=True, validator=_seconds(positive=True, optional=True))
    dedup: float | None = attrs.field(default=None, kw_only=True, validator=_seconds(positive=True, optional=True))
    single_active: bool = attrs.field(default=False, kw_only=True, validator=_one_of(bool))
    durable: bool | None = attrs.field(default=None, kw_only=True, validator=_one_of(bool, type(None)))

    def __attrs_post_init__(self) -> None:
        if self.single_active and isinstance(self.order, Keyed) and self.order.sticky:
            raise ValueError(
                "Policy.single_active takes False where lanes are sticky, but got True: lanes that stay with other "
                "consumers would never be served; use Keyed() without sticky"
            )


@attrs.frozen
class Retention:
    """How much of its past a topic keeps for replay; without any limit, all of it.

    ``count``: the last so many messages. ``age``: those that were published in the last so many seconds. ``size``: so
    many bytes of the last, which needs a journal. ``compact``: the last message of each key only, so that what is kept
    is the present state of every key, beside the messages that have no key. A message with a key and the body None is
    a tombstone: it takes the place of what its key had, and goes itself a day later, if ``count`` or ``age`` do not
    let it go before. As Kafka's retention and compaction.
    """

    count: int | None = attrs.field(default=None, validator=_whole(1))
    age: float | None = attrs.field(default=None, kw_only=True, validator=_seconds(positive=True, optional=True))
    size: int | None = attrs.field(default=None, kw_only=True, validator=_whole(1))
    compact: bool = attrs.field(default=False, kw_only=True, validator=_one_of(bool))


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
