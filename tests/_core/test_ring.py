"""The ring against the plainest model: a list."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventbus._core.ring import FIRST_SIZE, Ring
from eventbus.message import NO_HEADERS, Record


def record(offset: int) -> Record:
    return (offset, 0.0, offset, None, NO_HEADERS, 0, "q", None, None)


def offsets(records: list[Record]) -> list[int | None]:
    return [found[0] for found in records]


class RingAgainstAList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring()
        self.model: list[int] = []
        self.offset = 0

    def fresh(self, count: int, gap: int = 1) -> list[Record]:
        start = self.offset + gap
        self.offset += gap + count - 1
        self.model += range(start, start + count)
        return [record(offset) for offset in range(start, start + count)]

    @rule(gap=st.integers(1, 3))
    def push(self, gap: int) -> None:
        self.ring.push(self.fresh(1, gap)[0])

    @rule(count=st.integers(1, 40))
    def push_many(self, count: int) -> None:
        self.ring.push_many(self.fresh(count))

    @rule()
    def push_nothing(self) -> None:
        self.ring.push_many([])

    @rule()
    def popleft(self) -> None:
        found = self.ring.popleft()
        assert (None if found is None else found[0]) == (self.model.pop(0) if self.model else None)

    @rule(data=st.data())
    def insert(self, data: st.DataObject) -> None:
        """A record goes where its offset belongs."""
        absent = sorted({0, *range(self.offset + 1)} - set(self.model))
        if absent and (offset := data.draw(st.sampled_from(absent))):
            self.ring.insert(record(offset))
            self.model = sorted([*self.model, offset])

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.offset + 1))
        found = self.ring.remove(offset)
        assert (found is not None) == (offset in self.model)
        if found is not None:
            assert found[0] == offset
            self.model.remove(offset)

    @precondition(lambda self: len(self.model) > 1)
    @rule(data=st.data())
    def remove_a_run_from_the_middle(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(self.model) - 1))
        for offset in self.model[start : start + 5]:
            assert self.ring.remove(offset) == record(offset)
        del self.model[start : start + 5]

    @rule(data=st.data(), limit=st.integers(1, 20))
    def page(self, data: st.DataObject, limit: int) -> None:
        """A page is at most `limit` records that come after an offset, none skipped, none in vain."""
        after = data.draw(st.integers(0, self.offset + 1))
        expected = [offset for offset in self.model if offset > after]
        page = offsets(self.ring.page(after, limit))
        assert page == expected[: len(page)]
        assert bool(page) == bool(expected)

    @rule()
    def clear(self) -> None:
        assert offsets(self.ring.clear()) == self.model
        self.model.clear()

    @invariant()
    def is_the_list(self) -> None:
        self.ring.check()
        assert offsets(list(self.ring)) == self.model
        assert len(self.ring) == len(self.model)
        first = self.ring.first()
        assert (None if first is None else first[0]) == (self.model[0] if self.model else None)


TestRing = RingAgainstAList.TestCase


def test_a_ring_starts_small_and_gives_its_memory_back_when_cleared() -> None:
    ring = Ring()
    assert len(ring.slots) == FIRST_SIZE
    ring.push_many([record(offset) for offset in range(1, 1000)])
    assert len(ring.slots) == 1024
    ring.clear()
    assert len(ring.slots) == FIRST_SIZE


def test_a_ring_that_stays_short_does_not_grow() -> None:
    ring = Ring()
    for offset in range(1, 1000):
        ring.push(record(offset))
        if offset >= FIRST_SIZE:
            assert ring.popleft() == record(offset - FIRST_SIZE + 1)
    assert len(ring.slots) == FIRST_SIZE
