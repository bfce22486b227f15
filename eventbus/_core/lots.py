"""Many messages that come and go together, and cost next to nothing for each of them.

What `put_many` brings lies in a queue as it came, a `Chunk`: its bodies in a list, and once for all what they have in
common. What `get_many` takes is mostly acked whole, so it is lent whole: a `Lot` stands in its holder's `lots` as a
`Lease` stands in `out`, and is settled by being removed from there. Records and leases are made when somebody looks at
one message by itself.

Whatever treats one message by itself, from an ack of one to the end of its consumer, parts the lot first: then its
leases stand in `out` like all others, and no rule of a delivery's life has to know of lots. In the same way, a backlog
unpacks its chunks before it does anything but take from the front in batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from eventbus._core.leases import Lease
from eventbus.message import Headers, Key, Rare, Record

if TYPE_CHECKING:
    from eventbus._core.consumer import Holder

Facts: TypeAlias = tuple[float, Headers, int, str, Rare | None]
"""What all messages of a batch have in common: time, headers, priority, topic, rare."""


class Chunk:
    """Messages with consecutive offsets; or any that were taken together and have records already.

    Once a queue has it, it is never changed.
    """

    __slots__ = ("_records", "bodies", "facts", "first", "keys", "size", "times")

    bodies: Sequence[Any]
    size: int
    first: int
    keys: Sequence[Key] | None
    facts: Facts
    times: list[float] | None
    """When each was sent, unless that was at one time."""
    _records: list[Record] | None

    def __init__(
        self,
        first: int,
        bodies: Sequence[Any],
        keys: Sequence[Key] | None,
        facts: Facts,
        times: list[float] | None = None,
    ) -> None:
        self.first = first
        self.bodies = bodies
        self.size = len(bodies)
        self.keys = keys
        self.facts = facts
        self.times = times
        self._records = None

    @classmethod
    def of(cls, records: list[Record]) -> Chunk:
        """Messages that were taken together."""
        chunk: Chunk = cls.__new__(cls)
        chunk.bodies = [record[2] for record in records]
        chunk.size = len(records)
        chunk._records = records
        return chunk

    @property
    def records(self) -> list[Record]:
        """The messages one by one."""
        if self._records is None:
            time, headers, priority, name, rare = self.facts
            if self.times is not None:
                self._records = [
                    (offset, time, body, None, headers, priority, name, rare, None)
                    for offset, (time, body) in enumerate(zip(self.times, self.bodies, strict=True), self.first)
                ]
            elif self.keys is None:
                self._records = [
                    (offset, time, body, None, headers, priority, name, rare, None)
                    for offset, body in enumerate(self.bodies, self.first)
                ]
            else:
                self._records = [
                    (offset, time, body, key, headers, priority, name, rare, None)
                    for offset, (body, key) in enumerate(zip(self.bodies, self.keys, strict=True), self.first)
                ]
        return self._records

    def offsets(self) -> Sequence[int]:
        """Their offsets."""
        if self._records is None:
            return range(self.first, self.first + self.size)
        return [record[0] or 0 for record in self._records]

    def split(self, count: int) -> tuple[Chunk, Chunk]:
        """The first so many messages, and the others; of one that has consecutive offsets."""
        keys, times = self.keys, self.times
        return (
            Chunk(self.first, self.bodies[:count], keys and keys[:count], self.facts, times and times[:count]),
            Chunk(self.first + count, self.bodies[count:], keys and keys[count:], self.facts, times and times[count:]),
        )


class Lot:
    """The messages that one `get_many` took, lent to one holder."""

    __slots__ = ("_leases", "chunks", "holder")

    def __init__(self, holder: Holder, chunks: Sequence[Chunk], leases: list[Lease] | None = None) -> None:
        self.holder = holder
        self.chunks = chunks
        self._leases = leases

    def __len__(self) -> int:
        return sum([chunk.size for chunk in self.chunks])

    @property
    def leases(self) -> list[Lease]:
        """A lease for each message, made once."""
        if self._leases is None:
            with self.holder.queue.lock:  # so that two threads get the same ones
                self._leases = self._leases or self._lend()
        return self._leases

    def _lend(self) -> list[Lease]:
        holder = self.holder
        kind = holder.queue.kind
        leases: list[Lease] = []
        append = leases.append
        for chunk in self.chunks:
            for index, body in enumerate(chunk.bodies):
                lease = kind()
                lease.body = body
                lease._holder = holder
                lease._chunk = chunk
                lease._index = index
                append(lease)
        return leases


def lend_all(kind: type[Lease], holder: Holder, records: Sequence[Record]) -> list[Lease]:
    """A lease for each of these records."""
    leases: list[Lease] = []
    append = leases.append
    for record in records:
        lease = kind()
        lease._record = record
        lease.body = record[2]
        lease._holder = holder
        append(lease)
    return leases
