"""A bus that is closed while its queues read from the journal closes it in good order."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from eventbus import EARLIEST, Journal, Sync, blocking
from eventbus._journal.pages import Pages


def test_a_page_that_is_read_while_the_bus_closes_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, closed = threading.Event(), threading.Event()
    journal = Journal(tmp_path / "j.db", sync=Sync.OFF)
    with blocking.Bus(journal) as bus:
        bus.topic("t").publish(1)

    def after(self: Pages, *facts: Any) -> Any:
        reading.set()
        closed.wait(20)
        return read(self, *facts)

    read = Pages.after
    monkeypatch.setattr(Pages, "after", after)
    with blocking.Bus(journal) as bus:
        bus.topic("t").subscription("s", start=EARLIEST, where="body == 1")
        assert reading.wait(20)
        ending = bus._host.close
        monkeypatch.setattr(bus._host, "close", lambda: (ending(), closed.set()))
    monkeypatch.undo()
    with blocking.Bus(journal) as bus:
        assert bus.topic("t").subscription("s").get(timeout=20).body == 1
