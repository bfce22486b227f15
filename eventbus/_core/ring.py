"""A ring buffer of records that starts small and grows.

`head` and `tail` are sequence numbers that only grow; a slot is a sequence number modulo the size, which is a power of
two. A batch goes in and out by slice assignment, a record is addressed by its sequence number, and memory is fixed.
A record taken out of the middle leaves `GONE` in its slot. The slot at `head` is never `GONE`, so an occupied slot at
`tail` tells, without arithmetic, that the ring is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from eventbus.message import Record

FIRST_SIZE: Final = 8
GONE: Final[Record] = (-1, 0.0, None, None, {}, 0, "", None, None)


class Ring:
    """Records in the order of their offsets."""

    __slots__ = ("gone", "head", "mask", "slots", "tail")

    def __init__(self) -> None:
        self.slots: list[Record | None] = [None] * FIRST_SIZE
        self.mask = FIRST_SIZE - 1
        self.head = 0
        self.tail = 0
        self.gone = 0

    def __len__(self) -> int:
        return self.tail - self.head - self.gone

    def push(self, record: Record) -> None:
        tail = self.tail
        slot = tail & self.mask
        if self.slots[slot] is not None:
            self._grow(tail - self.head + 1)
            slot = tail & self.mask
        self.slots[slot] = record
        self.tail = tail + 1

    def insert(self, record: Record) -> None:
        """Put a record where its offset belongs; at the front, where most go, that is cheap."""
        first, offset = self.first(), record[0] or 0
        if first is not None and offset > (first[0] or 0):
            self._rebuild(sorted([*self, record], key=lambda other: other[0] or 0))
            return
        if self.slots[(self.head - 1) & self.mask] is not None:
            self._grow(self.tail - self.head + 1)
        self.head -= 1
        self.slots[self.head & self.mask] = record

    def push_many(self, records: Sequence[Record]) -> None:
        tail, count = self.tail, len(records)
        if tail + count - self.head > len(self.slots):
            self._grow(tail + count - self.head)
        start = tail & self.mask
        until_end = len(self.slots) - start
        if count <= until_end:
            self.slots[start : start + count] = records
        else:
            self.slots[start:] = records[:until_end]
            self.slots[: count - until_end] = records[until_end:]
        self.tail = tail + count

    def first(self) -> Record | None:
        return self.slots[self.head & self.mask]

    def last(self) -> Record | None:
        last = self.tail - 1
        while self.slots[last & self.mask] is GONE:
            last -= 1
        return self.slots[last & self.mask]

    def popleft(self) -> Record | None:
        """The first record, or None when there is none."""
        head = self.head
        slot = head & self.mask
        record = self.slots[slot]
        if record is not None:
            self.slots[slot] = None
            self.head = head + 1
            if self.gone:
                self._skip_gone()
        return record

    def page(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` records with offsets greater than `after`, left where they are."""
        start = self._search(after + 1)
        records = self._slice(start, min(start + limit, self.tail))
        return [record for record in records if record is not None and record is not GONE]

    def remove(self, offset: int) -> Record | None:
        """Take out the record with this offset, wherever it is."""
        sequence = self._search(offset)
        slot = sequence & self.mask
        record = self.slots[slot]
        if sequence >= self.tail or record is None or record[0] != offset:
            return None
        self.slots[slot] = GONE
        self.gone += 1
        self._skip_gone()
        return record

    def clear(self) -> list[Record]:
        """Take out everything, for the caller to let go of outside the lock."""
        records = list(self)
        self.slots = [None] * FIRST_SIZE
        self.mask = FIRST_SIZE - 1
        self.head = self.tail
        self.gone = 0
        return records

    def __iter__(self) -> Iterator[Record]:
        for record in self._slice(self.head, self.tail):
            if record is not None and record is not GONE:
                yield record

    def check(self) -> None:
        assert self.head <= self.tail <= self.head + len(self.slots)
        inside = self._slice(self.head, self.tail)
        assert all(record is not None for record in inside), "a hole inside the ring"
        assert sum(record is GONE for record in inside) == self.gone
        assert not inside or inside[0] is not GONE, "the ring starts with a removed record"
        offsets = [record[0] or 0 for record in self]
        assert offsets == sorted(offsets), "the ring is out of order"
        assert len(self.slots) - self.slots.count(None) == len(inside), "a record outside the ring"

    def _search(self, offset: int) -> int:
        """The sequence number of the first record whose offset is at least `offset`: a binary search."""
        low, high = self.head, self.tail
        while low < high:
            middle = probe = (low + high) // 2
            while probe > low and self.slots[probe & self.mask] is GONE:
                probe -= 1  # the slot at head is never GONE, but `low` may be: then it is judged below
            record = self.slots[probe & self.mask]
            if record is not None and record is not GONE and (record[0] or 0) >= offset:
                high = probe
            else:
                low = middle + 1
        return low

    def _slice(self, start: int, stop: int) -> list[Record | None]:
        low, count = start & self.mask, stop - start
        if count <= 0:
            return []
        found = self.slots[low : low + count]
        return found + self.slots[: count - len(found)] if len(found) < count else found

    def _blank(self, start: int, stop: int) -> None:
        low, count = start & self.mask, stop - start
        first = min(count, len(self.slots) - low)
        self.slots[low : low + first] = [None] * first
        self.slots[: count - first] = [None] * (count - first)

    def _skip_gone(self) -> None:
        while self.slots[self.head & self.mask] is GONE:
            self.slots[self.head & self.mask] = None
            self.head += 1
            self.gone -= 1

    def _rebuild(self, records: Sequence[Record]) -> None:
        """Hold these records, without gaps, ending at the same tail."""
        self._blank(self.head, self.tail)
        self.head = self.tail = self.tail - len(records)
        self.gone = 0
        self.push_many(records)

    def _grow(self, needed: int) -> None:
        records = self._slice(self.head, self.tail)
        size = len(self.slots)
        while size < needed:
            size *= 2
        self.slots = [None] * size
        self.mask = size - 1
        tail, self.tail = self.tail, self.head
        self.push_many(records)  # type: ignore[arg-type]  # between head and tail no slot is empty
        assert self.tail == tail
