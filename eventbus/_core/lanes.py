"""Keyed order: lanes, of each of which one message is out at a time, served in turn.

A lane is free when nothing of it is out. Free lanes that have something ready stand in a `Turn`, a row from whose
front consumers take and to whose end a lane returns once its message is settled: so any free consumer takes any free
lane, there is nothing to rebalance, and a hot key starves nobody. With `sticky`, each consumer has a row of its own
and lanes have owners; a lane changes owner only while it is free. Prior art: SQS message groups, Kafka's sticky
assignor.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast
from zlib import crc32

from eventbus._core.backlog import Backlog, offset_of
from eventbus._core.leases import Lease
from eventbus._core.ring import Ring
from eventbus.message import Key, Record
from eventbus.policy import Keyed

if TYPE_CHECKING:
    from sortedcontainers import SortedDict

    from eventbus._core.consumer import Holder

Place: TypeAlias = int | bytes | None
"""A lane's name: its number, or with a lane for each key the key; None for a message that is its own lane."""

Turn: TypeAlias = "deque[Lane]"


class Lane:
    """The messages of one partition, or of one key."""

    __slots__ = ("busy", "owner", "place", "ready", "successor", "turn")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.ready = Ring()
        self.busy = False
        self.turn: Turn | None = None
        """The row it stands in, while it is free and has something ready."""
        self.owner: Holder | None = None
        self.successor: Holder | None = None
        """Who gets it, once nothing of it is out."""

    @property
    def partition(self) -> int | None:
        return self.place if isinstance(self.place, int) else None


def placer(order: Keyed) -> Callable[[Key], Place]:
    """The function that finds a key's lane. It may run the user's partitioner, so it is called outside the lock."""
    partitions = order.partitions
    if order.partitioner is not None:
        return lambda key: None if key is None else order.place(as_bytes(key))
    if partitions is not None:
        return lambda key: (  # whose class nobody else looks at: a type checker does not see what it says
            None if key is None else crc32(key.encode() if key.__class__ is str else key) % partitions  # type: ignore
        )
    return lambda key: None if key is None else as_bytes(key)


def as_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


class KeyedBacklog(Backlog):
    """Lanes served in turn."""

    __slots__ = ("by_offset", "count", "kind", "lanes", "open_turn", "order", "turns")

    def __init__(self, kind: type[Lease], order: Keyed, drops_oldest: bool) -> None:
        self.kind = kind
        self.order = order
        self.lanes: dict[Place, Lane] = {}
        self.open_turn: Turn = deque()
        """Lanes that any consumer may take: all of them, or with `sticky` those that nobody owns."""
        self.turns: dict[Holder, Turn] = {}
        self.by_offset: SortedDict[int, Lane] | dict[int, Lane] | None = None
        """Where each message is: from the start, and sorted, where the oldest may be dropped, else once somebody has
        asked."""
        if drops_oldest:
            from sortedcontainers import SortedDict  # few need it, and its import takes long

            self.by_offset = SortedDict()
        self.count = 0
        self.redelivered = 0
        if order.sticky:
            assert order.partitions is not None
            self.lanes = {number: Lane(number) for number in range(order.partitions)}

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Record]:
        """By offset, which is the order inside each lane; between lanes the turn decides."""
        return heapq.merge(*(lane.ready for lane in self._all_lanes()), key=offset_of)

    def push_at(self, record: Record, place: Place) -> None:
        lane = self.lanes.get(place)
        if lane is None:
            lane = self._new_lane(place)
        lane.ready.push(record)
        self.count += 1
        if lane.turn is None and not lane.busy:
            lane.turn = turn = self.open_turn if lane.owner is None else self.turns[lane.owner]
            turn.append(lane)
        if self.by_offset is not None:
            self.by_offset[offset_of(record)] = lane

    def lend(self, holder: Holder) -> Lease | None:
        turn = self._turn_of(holder) if self.turns else self.open_turn
        if not turn:
            return None
        lane = turn.popleft()
        lane.turn = None
        lane.busy = True
        record = lane.ready.popleft()
        assert record is not None, "a lane in turn has something ready"
        if record[8] is not None:
            self.redelivered += 1
        self.count -= 1
        if self.by_offset is not None:
            del self.by_offset[offset_of(record)]
        kind = self.kind
        lease = kind()
        lease._record = record
        lease.body = record[2]
        lease._holder = holder
        lease._lane = lane
        return lease

    def lend_many(self, holder: Holder, limit: int) -> list[Lease]:
        leases: list[Lease] = []
        while len(leases) < limit and (lease := self.lend(holder)) is not None:
            leases.append(lease)
        return leases

    def available(self, holder: Holder | None) -> int:
        free = len(self.open_turn)
        return free + len(self.turns[holder]) if holder in self.turns else free

    def restore(self, record: Record, lane: Lane | None) -> None:
        assert lane is not None
        lane.ready.insert(record)
        self._entered(record, lane)
        self.settled(lane)

    def insert(self, record: Record, place: Place) -> None:
        lane = self._lane_at(place)
        lane.ready.insert(record)
        self._entered(record, lane)

    def overtaken(self, offset: int, priority: int, place: Place) -> bool:
        lane = self.lanes.get(place)
        last = None if lane is None else lane.ready.last()
        return last is not None and offset_of(last) > offset

    def hold(self, place: Place) -> Lane:
        """Keep the lane of which nothing has been read yet, for its message that waits for a retry."""
        lane = self._lane_at(place)
        assert lane.turn is None, "what holds a lane is read first"
        assert not lane.busy
        lane.busy = True
        return lane

    def settled(self, lane: Lane | None) -> None:
        assert lane is not None
        lane.busy = False
        if lane.successor is not None:
            lane.owner, lane.successor = lane.successor, None
        if lane.ready.head != lane.ready.tail:
            lane.turn = turn = self.open_turn if lane.owner is None else self.turns[lane.owner]
            turn.append(lane)
        elif self.order.partitions is None:
            self._forget_idle([lane])

    def remove(self, offset: int) -> Record | None:
        return next(iter(self.remove_many((offset,))), None)

    def remove_many(self, offsets: Sequence[int]) -> list[Record]:
        if self.by_offset is None:
            self.by_offset = {offset_of(record): lane for lane in self._all_lanes() for record in lane.ready}
        records = []
        lanes: dict[Lane, None] = {}
        for offset in offsets:
            lane = self.by_offset.pop(offset, None)
            if lane is not None:
                record = lane.ready.remove(offset)
                assert record is not None
                records.append(record)
                lanes[lane] = None
        self.count -= len(records)
        self._forget_idle(list(lanes))
        return records

    def drop_oldest(self, newcomer: Record) -> Record:
        by_offset = cast("SortedDict[int, Lane]", self.by_offset)
        if not by_offset:
            return newcomer
        offset, lane = by_offset.popitem(0)
        record = lane.ready.remove(offset)
        assert record is not None
        self.count -= 1
        self._forget_idle([lane])
        return record

    def clear(self) -> list[Record]:
        records = [record for lane in self._all_lanes() for record in lane.ready.clear()]
        for row in (self.open_turn, *self.turns.values()):
            for lane in row:
                lane.turn = None
            row.clear()
        if self.order.partitions is None:
            self.lanes = {place: lane for place, lane in self.lanes.items() if lane.busy}
        self.count = 0
        if self.by_offset is not None:
            self.by_offset.clear()
        return records

    def oldest(self) -> Record | None:
        heads = [head for lane in self._all_lanes() if (head := lane.ready.first()) is not None]
        return min(heads, key=offset_of, default=None)

    # sticky lanes

    def attach(self, holder: Holder) -> None:
        if self.order.sticky:
            self.turns[holder] = deque()
            self._spread()

    def detach(self, holder: Holder) -> None:
        if self.order.sticky:
            del self.turns[holder]
            self._spread()

    def partitions_of(self, holder: Holder) -> tuple[int, ...]:
        return tuple(
            lane.partition for lane in self.lanes.values() if lane.owner is holder and lane.partition is not None
        )

    def _spread(self) -> None:
        """Give every consumer its even share of lanes, moving as few as possible and none that is out."""
        holders = list(self.turns)
        share, extra = divmod(len(self.lanes), len(holders)) if holders else (0, 0)
        kept: dict[Holder, int] = dict.fromkeys(holders, 0)
        homeless = []
        for lane in sorted(self.lanes.values(), key=lambda lane: not lane.busy):  # those that are out stay first
            keeper = lane.owner
            room = keeper in kept and kept[keeper] < share + (extra > 0)
            if keeper is None or not room:
                homeless.append(lane)
                continue
            if kept[keeper] == share:
                extra -= 1
            kept[keeper] += 1
            lane.successor = None
        heirs = itertools.chain.from_iterable(itertools.repeat(h, share - kept[h]) for h in holders if kept[h] < share)
        spare = (h for h in holders if kept[h] <= share)
        for lane in homeless:
            self._hand_over(lane, next(heirs, None) or next(spare, None))

    def _hand_over(self, lane: Lane, heir: Holder | None) -> None:
        if lane.busy:
            lane.successor = heir
            if lane.owner not in self.turns:  # it closed while its last ack was on its way
                lane.owner = None
            return
        lane.owner, lane.successor = heir, None
        if lane.turn is not None:
            lane.turn.remove(lane)
            lane.turn = None
        self._line_up(lane)

    # free lanes and their rows

    def _turn_of(self, holder: Holder) -> Turn:
        """The row to take from: with `sticky` the holder's own, or the open one where older messages wait."""
        own = self.turns.get(holder)
        if not own or (self.open_turn and _age(self.open_turn[0]) < _age(own[0])):
            return self.open_turn
        return own

    def _line_up(self, lane: Lane) -> None:
        """Stand in the row, if free, not there yet, and with something ready."""
        if lane.busy or lane.turn is not None or not len(lane.ready):
            return
        lane.turn = self.open_turn if lane.owner is None else self.turns[lane.owner]
        lane.turn.append(lane)

    def _lane_at(self, place: Place) -> Lane:
        return self.lanes.get(place) or self._new_lane(place)

    def _new_lane(self, place: Place) -> Lane:
        """A lane for a new key, or for one message without a key, which stands in no index."""
        lane = Lane(place)
        if place is not None:
            self.lanes[place] = lane
        return lane

    def _forget_idle(self, lanes: Sequence[Lane]) -> None:
        """Those of these lanes that are empty leave their rows, and are forgotten unless their number is fixed."""
        empty = [lane for lane in lanes if not len(lane.ready)]
        for row in {id(lane.turn): lane.turn for lane in empty}.values():
            if row is not None:
                leaving = {lane for lane in empty if lane.turn is row}
                if len(leaving) == 1:
                    row.remove(leaving.pop())
                    continue
                staying = [lane for lane in row if lane not in leaving]
                row.clear()
                row.extend(staying)
        for lane in empty:
            lane.turn = None
            if not lane.busy and self.order.partitions is None and lane.place is not None:
                del self.lanes[lane.place]

    def _all_lanes(self) -> Iterator[Lane]:
        """All lanes that have something ready: the named ones, and those of messages without a key."""
        yield from self.lanes.values()
        for turn in (self.open_turn, *self.turns.values()):
            yield from [lane for lane in turn if lane.place is None]

    def _entered(self, record: Record, lane: Lane) -> None:
        self.count += 1
        if self.by_offset is not None:
            self.by_offset[offset_of(record)] = lane
        self._line_up(lane)

    def check(self) -> None:
        rows = [self.open_turn, *self.turns.values()]
        standing = [lane for row in rows for lane in row]
        assert len(set(standing)) == len(standing), "a lane stands in two rows"
        for lane in (*self.lanes.values(), *standing):
            lane.ready.check()
            assert (lane in standing) == (not lane.busy and len(lane.ready) > 0), (
                "a free lane with messages is not in turn"
            )
            assert lane.turn is None or lane in lane.turn
            assert lane.turn in (None, self.open_turn if lane.owner is None else self.turns[lane.owner])
        assert self.count == sum(len(lane.ready) for lane in self._all_lanes())
        assert self.by_offset is None or sorted(self.by_offset) == [offset_of(record) for record in self]


def _age(lane: Lane) -> int:
    first = lane.ready.first()
    assert first is not None, "a lane in turn has something ready"
    return offset_of(first)
