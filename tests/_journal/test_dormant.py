"""The journal remembers when a module has last declared each queue and topic."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus import Journal, Policy, Sync, blocking
from eventbus._runtime import threads
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


def test_who_waits_for_a_subscription_that_nobody_declares_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.01)
    journal = Journal(tmp_path / "j.db", sync=Sync.OFF)
    with blocking.Bus(journal) as bus:
        bus.topic("t").subscription("old", Policy(capacity=1))
    with blocking.Bus(journal) as bus:
        bus.topic("t").publish(1)
        for declared, said in ((False, "no module has declared it since that was opened"), (True, "no consumer is")):
            if declared:
                bus.topic("t").subscription("old")
            with pytest.raises(TimeoutError):
                bus.topic("t").publish(2, timeout=0.3)
            assert "for room in queue 't/old'" in caplog.messages[-1]
            assert said in caplog.messages[-1]
            assert ("declare it and unsubscribe()" in caplog.messages[-1]) is not declared
