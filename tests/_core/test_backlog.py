"""The backlogs against the plainest model: a list that is sorted again at every question."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventbus import Delivery
from eventbus._core.consumer import Holder
from eventbus._core.engine import Engine
from eventbus._core.fifo import MANY, FifoBacklog
from eventbus._core.leases import Lease
from eventbus._core.lots import Chunk, Lot
from eventbus._core.ranks import PriorityBacklog
from eventbus.message import NO_HEADERS, Past, Record


class BacklogAgainstAList(RuleBasedStateMachine):
    backlog: FifoBacklog | PriorityBacklog

    def __init__(self) -> None:
        super().__init__()
        self.model: list[Record] = []
        self.lent: list[Lease] = []
        self.offset = 0
        self.again = 0
        queue = Engine(Delivery, lambda text, error: None).declare_queue("q", None)
        self.holder = Holder(queue, queue.getters)

    def rank(self, record: Record) -> Any:
        return record[0]

    def in_order(self) -> list[Record]:
        return sorted(self.model, key=self.rank)

    def fresh(self, priority: int) -> Record:
        self.offset += 1
        return (self.offset, 0.0, None, None, NO_HEADERS, priority, "q", None, None)

    @rule(priority=st.integers(-2, 2))
    def push(self, priority: int) -> None:
        record = self.fresh(priority)
        self.backlog.push(record)
        self.model.append(record)

    @rule(priority=st.integers(-2, 2), count=st.integers(1, 12))
    def push_chunk(self, priority: int, count: int) -> None:
        records = [self.fresh(priority) for _ in range(count)]
        chunk = Chunk(records[0][0] or 0, [None] * count, None, (0.0, NO_HEADERS, priority, "q", None))
        assert chunk.records == records
        self.backlog.push_chunk(chunk)
        self.model += records

    @rule()
    def lend(self) -> None:
        lease = self.backlog.lend(None)  # type: ignore[arg-type]  # a backlog does not look at the holder
        self.took([] if lease is None else [lease], 1)

    @rule(limit=st.integers(0, 15))
    def lend_many(self, limit: int) -> None:
        self.took(self.backlog.lend_many(None, limit), limit)  # type: ignore[arg-type]

    @rule(limit=st.integers(1, 15))
    def pull_chunks(self, limit: int) -> None:
        lot = Lot(self.holder, self.backlog.pull_chunks(limit))
        self.took(lot.leases, limit)
        assert len(lot) == len(lot.leases)

    def took(self, leases: list[Lease], limit: int) -> None:
        expected = self.in_order()[:limit]
        assert [lease.record for lease in leases] == expected
        self.model = [record for record in self.model if record not in expected]
        self.again += sum(record[8] is not None for record in expected)
        self.lent += leases

    @precondition(lambda self: self.lent)
    @rule(data=st.data(), seen=st.booleans())
    def restore(self, data: st.DataObject, seen: bool) -> None:
        lease = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        record = (*lease.record[:8], Past(1, 0)) if seen else lease.record
        self.backlog.restore(record, None)
        self.model.append(record)

    @precondition(lambda self: self.lent)
    @rule(count=st.integers(1, 100))
    def restore_many(self, count: int) -> None:
        records = [lease.record for lease in self.lent[:count]]
        del self.lent[:count]
        self.backlog.restore_many(records)
        self.model += records

    @rule(count=st.integers(MANY, 3 * MANY), step=st.integers(1, 3))
    def many_arrive(self, count: int, step: int) -> None:
        """As delayed messages do, between others."""
        records = [self.fresh(index % 2) for index in range(count)]
        self.backlog.restore_many(records[::step][::-1])
        for record in records:
            if record not in records[::step]:
                self.backlog.restore(record)
        self.model += records

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.offset + 1))
        found = self.backlog.remove(offset)
        assert found == next((record for record in self.model if record[0] == offset), None)
        if found is not None:
            self.model.remove(found)

    @rule(data=st.data())
    def remove_many(self, data: st.DataObject) -> None:
        offsets = data.draw(st.lists(st.integers(0, self.offset + 1), max_size=6))
        found = self.backlog.remove_many(offsets)
        expected = [record for record in self.model if record[0] in offsets]
        assert sorted(record[0] or 0 for record in found) == sorted(record[0] or 0 for record in expected)
        self.model = [record for record in self.model if record not in expected]

    @rule(priority=st.integers(-2, 2))
    def drop_oldest(self, priority: int) -> None:
        newcomer = self.fresh(priority)
        victim = self.backlog.drop_oldest(newcomer)
        assert victim == self.victim(newcomer)
        if victim is not newcomer:
            self.model.remove(victim)

    def victim(self, newcomer: Record) -> Record:
        return min([*self.model, newcomer], key=lambda record: record[0] or 0)

    @rule()
    def clear(self) -> None:
        assert sorted(record[0] or 0 for record in self.backlog.clear()) == sorted(r[0] or 0 for r in self.model)
        self.model.clear()

    @rule()
    def insert_from_the_past(self) -> None:
        """History has lower offsets than what comes now."""
        self.offset += 2
        record = (self.offset - 1, 0.0, None, None, NO_HEADERS, 0, "q", None, None)
        self.backlog.insert(record, None)
        self.model.append(record)

    @invariant()
    def is_the_list(self) -> None:
        self.backlog.check()
        assert list(self.backlog) == self.in_order()
        assert len(self.backlog) == len(self.model)
        assert self.backlog.oldest() == min(self.model, key=lambda record: record[0] or 0, default=None)
        assert self.backlog.redelivered == self.again


class FifoAgainstAList(BacklogAgainstAList):
    def __init__(self) -> None:
        super().__init__()
        self.backlog = FifoBacklog(Delivery)


class PriorityAgainstAList(BacklogAgainstAList):
    def __init__(self) -> None:
        super().__init__()
        self.backlog = PriorityBacklog(Delivery, drops_oldest=True)

    def rank(self, record: Record) -> Any:
        return (-record[5], record[0])

    def victim(self, newcomer: Record) -> Record:
        return min([*self.model, newcomer], key=lambda record: (record[5], record[0]))


TestFifo = FifoAgainstAList.TestCase
TestPriority = PriorityAgainstAList.TestCase


def test_a_priority_queue_keeps_no_empty_levels_for_ever() -> None:
    backlog = PriorityBacklog(Delivery, drops_oldest=False)
    for priority in range(1000):
        backlog.push((priority + 1, 0.0, None, None, NO_HEADERS, priority, "q", None, None))
        assert backlog.lend(None) is not None  # type: ignore[arg-type]
    assert len(backlog.levels) <= 64
