"""A purge of what is on disk takes what had come by then, and nothing that came after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eventbus import Fifo, Keyed, Policy, Priority, blocking
from eventbus._core import depot
from tests.kit.journals import be_quiet, check, drain, writer_of


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=str)
def test_a_purge_spares_what_is_being_written(tmp_path: Path, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 256)
    policy = Policy(order, capacity=None)
    with blocking.Bus(tmp_path / "j.db") as bus:
        queue = bus.queue("q", policy)
        queue.put_many(range(600), key="k")
        be_quiet(bus)
        assert queue.stats().lag
        store = writer_of(bus).run.store
        write = store.write

        def write_and_purge(*facts: Any) -> Any:
            store.write = write
            failed = write(*facts)
            assert queue.purge() == 600
            return failed

        store.write = write_and_purge
        queue.put("in flight", key="k")
        bus.flush()
        check(bus)
        assert [message.body for message in queue.peek(9)] == ["in flight"]
    with blocking.Bus(tmp_path / "j.db") as bus:
        assert [body for _, body in drain(bus.queue("q", policy))] == ["in flight"]
