"""Lanes against the plainest model: a list of lanes, each a list, and a row of those that are free."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventbus import Bus, Delivery, Keyed, Policy
from eventbus._core.consumer import Holder
from eventbus._core.lanes import KeyedBacklog, placer
from eventbus._core.leases import Lease
from eventbus._core.waiting import Line
from eventbus.message import NO_HEADERS, Past, Record

PLACES = st.sampled_from([None, 0, 1, 2, 3])


@attrs.define(eq=False)
class LaneModel:
    place: Any
    ready: list[int] = attrs.field(factory=list)
    busy: bool = False
    owner: Holder | None = None


class LanesAgainstLists(RuleBasedStateMachine):
    """`order` says how lanes are named; with a lane for each key, names are bytes."""

    order = Keyed(4)

    @initialize()
    def begin(self) -> None:
        self.backlog = KeyedBacklog(Delivery, self.order, drops_oldest=True)
        self.lanes: list[LaneModel] = []
        self.row: list[LaneModel] = []
        self.lent: list[tuple[Lease, LaneModel]] = []
        self.offset = 0
        self.again = 0
        self.seen: set[int] = set()
        self.holders: list[Holder] = []
        state: Any = Bus().queue("q", Policy(self.order))._state
        self.nobody = Holder(state, Line())

    # the model

    def name(self, place: int | None) -> Any:
        return place if place is None or self.order.partitions else b"%d" % place

    def lane(self, place: int | None) -> LaneModel:
        name = self.name(place)
        lane = next((lane for lane in self.lanes if name is not None and lane.place == name), None)
        if lane is None:
            lane = LaneModel(name)
            self.lanes.append(lane)
        return lane

    def line_up(self, lane: LaneModel) -> None:
        if not lane.busy and lane.ready and lane not in self.row:
            self.row.append(lane)
        if not lane.ready and lane in self.row:
            self.row.remove(lane)

    def ready(self) -> list[int]:
        return sorted(offset for lane in self.lanes for offset in lane.ready)

    def may_lend(self, holder: Holder) -> list[LaneModel]:
        """Lanes in the order in which this holder is served; the first alone is right."""
        return self.row

    def record(self, offset: int, past: Past | None = None) -> Record:
        return (offset, 0.0, None, None, NO_HEADERS, 0, "q", None, past)

    # what happens

    @rule(place=PLACES)
    def push(self, place: int | None) -> None:
        self.offset += 1
        self.backlog.push_at(self.record(self.offset), self.name(place))
        lane = self.lane(place)
        lane.ready.append(self.offset)
        self.line_up(lane)

    @rule(place=PLACES)
    def insert_from_the_past(self, place: int | None) -> None:
        """What is read from the past finds its place by its offset."""
        self.offset += 2
        for offset in (self.offset, self.offset - 1):
            lane = self.lane(place)
            self.backlog.insert(self.record(offset), self.name(place))
            lane.ready = sorted([*lane.ready, offset])
            self.line_up(lane)

    @rule(data=st.data())
    def lend(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from([self.nobody, *self.holders]))
        lease = self.backlog.lend(holder)
        if lease is None:
            assert not self.may_lend(holder)
        else:
            self.took(lease, holder)

    @rule(data=st.data(), limit=st.integers(0, 4))
    def lend_many(self, data: st.DataObject, limit: int) -> None:
        holder = data.draw(st.sampled_from([self.nobody, *self.holders]))
        available = self.backlog.available(holder)
        leases = self.backlog.lend_many(holder, limit)
        assert len(leases) == min(limit, available)
        for lease in leases:
            self.took(lease, holder)

    def took(self, lease: Lease, holder: Holder) -> None:
        lane = self.legal(lease, holder)
        offset = lane.ready.pop(0)
        assert offset == lease.record[0]
        assert lease.lane is not None
        assert lease.lane.partition == (lane.place if self.order.partitions else None)
        self.row.remove(lane)
        lane.busy = True
        self.again += offset in self.seen
        self.lent.append((lease, lane))

    def legal(self, lease: Lease, holder: Holder) -> LaneModel:
        return self.row[0]

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        lease, lane = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        self.backlog.settled(lease.lane)
        self.freed(lane)

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        lease, lane = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        offset = lease.record[0] or 0
        self.backlog.restore(self.record(offset, Past(1, 0)), lease.lane)
        self.seen.add(offset)
        lane.ready.insert(0, offset)
        self.freed(lane)

    def freed(self, lane: LaneModel) -> None:
        lane.busy = False
        self.line_up(lane)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.offset + 1))
        record = self.backlog.remove(offset)
        assert (record is not None) == (offset in self.ready())
        self.gone(offset)

    @rule(data=st.data())
    def remove_many(self, data: st.DataObject) -> None:
        offsets = data.draw(st.lists(st.integers(0, self.offset + 1), max_size=6))
        expected = sorted(set(offsets) & set(self.ready()))
        assert sorted(record[0] or 0 for record in self.backlog.remove_many(offsets)) == expected
        for offset in expected:
            self.gone(offset)

    def gone(self, offset: int) -> None:
        for lane in self.lanes:
            if offset in lane.ready:
                lane.ready.remove(offset)
                self.line_up(lane)

    @rule()
    def drop_oldest(self) -> None:
        newcomer = self.record(self.offset + 1)
        victim = self.backlog.drop_oldest(newcomer)
        if self.ready():
            assert victim[0] == self.ready()[0]
            self.gone(victim[0] or 0)
        else:
            assert victim is newcomer

    @rule()
    def clear(self) -> None:
        assert sorted(record[0] or 0 for record in self.backlog.clear()) == self.ready()
        for lane in self.lanes:
            lane.ready.clear()
        self.row.clear()

    @invariant()
    def is_the_lists(self) -> None:
        if not hasattr(self, "backlog"):
            return
        self.backlog.check()
        assert [record[0] for record in self.backlog] == self.ready()
        assert len(self.backlog) == len(self.ready())
        oldest = self.backlog.oldest()
        assert (None if oldest is None else oldest[0]) == min(self.ready(), default=None)
        assert self.backlog.redelivered == self.again
        for holder in (self.nobody, *self.holders):
            assert self.backlog.available(holder) == len(self.may_lend(holder))

    @invariant()
    def empty_lanes_are_forgotten(self) -> None:
        if hasattr(self, "backlog") and self.order.partitions is None:
            named = {lane.place for lane in self.lanes if lane.place is not None and (lane.ready or lane.busy)}
            assert set(self.backlog.lanes) == named


class GroupsAgainstLists(LanesAgainstLists):
    order = Keyed()


class StickyLanesAgainstLists(LanesAgainstLists):
    """Which lane of several comes first is left open; whose it is, is not."""

    order = Keyed(4, sticky=True)

    def owner(self, lane: LaneModel) -> Holder | None:
        return next((h for h in self.holders if lane.place in self.backlog.partitions_of(h)), None)

    def may_lend(self, holder: Holder) -> list[LaneModel]:
        return [lane for lane in self.row if self.owner(lane) in (None, holder)]

    def legal(self, lease: Lease, holder: Holder) -> LaneModel:
        lane = next(lane for lane in self.row if lane.ready[0] == lease.record[0])
        assert lane in self.may_lend(holder)
        return lane

    @precondition(lambda self: len(self.holders) < 5)
    @rule()
    def attach(self) -> None:
        before = self.owners()
        holder = Holder(self.nobody.queue, Line())
        self.backlog.attach(holder)
        self.holders.append(holder)
        self.spread(before)

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        """What a holder had out has come back before it goes."""
        holder = data.draw(st.sampled_from(self.holders))
        for lease, lane in [pair for pair in self.lent if pair[0]._holder is holder]:
            self.lent.remove((lease, lane))
            self.backlog.restore(lease.record, lease.lane)
            self.again -= lease.record[8] is not None
            self.backlog.redelivered -= lease.record[8] is not None
            lane.ready.insert(0, lease.record[0] or 0)
            self.freed(lane)
        before = self.owners()
        self.holders.remove(holder)
        self.backlog.detach(holder)
        self.spread(before)

    def owners(self) -> dict[int, Holder]:
        return {place: holder for holder in self.holders for place in self.backlog.partitions_of(holder)}

    def spread(self, before: dict[int, Holder]) -> None:
        """Lanes of which something is out stay; no more move than must."""
        after = self.owners()
        busy = {lane.place for lane in self.lanes if lane.busy}
        for place, holder in after.items():
            if place in busy and before.get(place) in self.holders:
                assert holder is before[place]
        if not busy:
            moved = sum(before.get(place) is not holder for place, holder in after.items())
            share = len(after) // max(1, len(self.holders))
            homeless = sum(before.get(place) not in self.holders for place in after)
            assert moved <= max(homeless, share), "more lanes moved than had to"

    @invariant()
    def every_lane_has_one_owner_and_shares_are_even(self) -> None:
        if not getattr(self, "holders", None):
            return
        owned = [self.backlog.partitions_of(holder) for holder in self.holders]
        places = [place for places in owned for place in places]
        assert len(set(places)) == len(places)
        if not any(lane.busy for lane in self.lanes):
            assert sorted(places) == list(range(4))
            assert max(map(len, owned)) - min(map(len, owned)) <= 1


TestLanes = LanesAgainstLists.TestCase
TestGroups = GroupsAgainstLists.TestCase
TestStickyLanes = StickyLanesAgainstLists.TestCase


def test_a_placer_names_lanes() -> None:
    assert placer(Keyed())("ä") == "ä".encode() == placer(Keyed())("ä".encode())
    assert placer(Keyed(7))("a") == placer(Keyed(7))(b"a")
    assert placer(Keyed(7, partitioner=lambda key: len(key)))("ab") == 2
    for order in (Keyed(), Keyed(7), Keyed(7, partitioner=len)):
        assert placer(order)(None) is None


def test_without_drops_no_lane_is_looked_up_by_offset() -> None:
    backlog = KeyedBacklog(Delivery, Keyed(), drops_oldest=False)
    record = (1, 0.0, None, "k", NO_HEADERS, 0, "q", None, None)
    backlog.push_at(record, b"k")
    backlog.insert((2, *record[1:]), b"k")
    assert backlog.remove(2) is not None
    lease = backlog.lend(None)  # type: ignore[arg-type]  # no holder has lanes of its own
    assert lease is not None
    backlog.restore(record, lease.lane)
    assert backlog.clear() == [record]
    backlog.check()


def test_detaching_from_lanes_that_are_not_sticky_is_nothing() -> None:
    for order in (Keyed(), Keyed(3)):
        backlog = KeyedBacklog(Delivery, order, drops_oldest=False)
        backlog.attach(None)  # type: ignore[arg-type]
        assert backlog.partitions_of(None) == ()  # type: ignore[arg-type]
        backlog.detach(None)  # type: ignore[arg-type]


def test_what_comes_back_fits_into_a_lane_however_full() -> None:
    queue = Bus().queue("q", Policy(Keyed(1)))
    for round in range(3):
        for body in range(8 << round):
            queue.put_nowait(body, key="k")
        delivery = queue.get_nowait()
        queue.put_nowait("one more", key="k")
        delivery.release()
        assert [m.body for m in queue.peek(99)] == [*range(8 << round), "one more"]
        assert queue.purge() == (8 << round) + 1
