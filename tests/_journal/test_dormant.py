"""The journal remembers when a module has last declared each queue and topic."""

from __future__ import annotations

from pathlib import Path

from eventbus import Journal, Sync, blocking
from tests.kit import ManualClock


def declared(bus: blocking.Bus) -> dict[str, float]:
    bus.flush()
    return dict(
        bus.query("SELECT name, declared FROM eventbus_queues UNION SELECT name, declared FROM eventbus_topics")
    )


def test_an_opening_declares_nothing_by_itself_and_a_declaration_counts_whenever_it_comes(tmp_path: Path) -> None:
    clock = ManualClock()
    journal = Journal(tmp_path / "j.db", sync=Sync.OFF)
    with blocking.Bus(journal, clock=clock) as bus:
        bus.topic("t").subscription("s")
        bus.topic("old").subscription("old")
        start = clock.time()
    clock.advance(100)
    early = blocking.Bus(journal, clock=clock)
    early.topic("t")
    with early as bus:
        assert declared(bus) == {"t": start + 100, "t/s": start, "old": start, "old/old": start}
        clock.advance(100)
        bus.topic("t").subscription("s")
        assert declared(bus) == {"t": start + 100, "t/s": start + 200, "old": start, "old/old": start}
        bus.topic("old")
        assert declared(bus)["old"] == start + 200
