"""What a topic keeps of its past, against a list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventbus import Retention
from eventbus._core.retention import Retained
from eventbus.message import NO_HEADERS, Record


def record(offset: int, time: float = 0.0) -> Record:
    return (offset, time, offset, None, NO_HEADERS, 0, "t", None, None)


@given(count=st.integers(1, 12), gaps=st.lists(st.integers(1, 3), max_size=40))
def test_it_keeps_the_last_ones_and_knows_what_it_lost(count: int, gaps: list[int]) -> None:
    retained, kept, lost = Retained(Retention(count)), [], 0
    assert (retained.last_offset(), retained.lost_through, len(retained)) == (0, 0, 0)
    offset = 0
    for gap in gaps:
        offset += gap
        kept.append(record(offset, offset / 2))
        gone = retained.keep(kept[-1])
        expected = kept.pop(0) if len(kept) > count else None
        assert gone == expected
        lost = lost if expected is None else expected[0] or 0
        retained.check()
        assert list(retained) == kept
        assert retained.last_offset() == offset
        assert retained.lost_through == lost
    for time in range(-1, offset + 2):
        first = next((r[0] for r in kept if r[1] >= time / 2), None)
        assert retained.first_since(time / 2) == first
