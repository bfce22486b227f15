"""The model of time, failures, expiry and the rest, over a journal, with one more step: close it, and open it again."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from eventbus import EmptyError, Journal, Keyed, Sync, blocking
from tests.scenarios.test_time_against_a_model import Entry, TimeMachine

PATIENCE = 20.0  # seconds after which what does not come is lost


class JournalMachine(TimeMachine):
    """What is out when the journal is closed comes again; counting begins anew."""

    def make_bus(self) -> Any:
        if not hasattr(self, "folder"):
            self.folder = tempfile.TemporaryDirectory(prefix="eventbus-")
        bus = blocking.Bus(Journal(Path(self.folder.name, "bus.db"), sync=Sync.OFF), clock=self.clock)
        return bus.__enter__()

    def teardown(self) -> None:
        if hasattr(self, "bus"):
            self.bus.__exit__(ValueError, ValueError(), None)  # at once
            self.folder.cleanup()

    def settle_down(self) -> None:
        """Let what is on its way to the disk, or from there, arrive."""
        self.bus.flush()

    def taken(self) -> Any:
        self.settle_down()
        if not self.next_ones():
            return self.queue.get_nowait()
        try:
            return self.queue.get(timeout=PATIENCE)  # it may have to be read first
        except TimeoutError:
            raise EmptyError("q") from None

    def fail(self, entry: Entry, delay: float | None) -> None:
        super().fail(entry, delay)
        entry.known = entry.attempts

    @precondition(lambda self: hasattr(self, "bus"))
    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:
        self.settle_down()
        if clean:
            self.bus.close()
        else:
            self.bus.__exit__(ValueError, ValueError(), None)
        self.bus = self.make_bus()
        self.declare()
        self.entries = [e for e in self.entries if e.state in ("ready", "delayed", "out")]
        lanes = isinstance(self.policy.order, Keyed)
        for entry in self.entries:
            entry.attempts = entry.known
            if entry.state == "out" or (lanes and entry.retry):
                entry.state, entry.retry = "ready", False
        self.moved = 0
        for id in self.ids:
            if (first := self.first_of(id)) is not None:
                assert self.queue.put("again", id=id) == first
        self.expire()
        self.await_what_is_to_come()

    def await_what_is_to_come(self) -> None:
        """It counts as ready until it was read, a moment after the queue is declared."""
        patience = threading.Event()
        for _ in range(2_000):
            if (
                not self.graves.stats().lag
                and not self.queue.stats().lag
                and self.queue.stats().delayed == len(self.those("delayed"))
            ):
                return
            patience.wait(0.005)

    def agrees(self) -> None:
        if hasattr(self, "bus"):
            self.settle_down()
        super().agrees()


def test_a_journal_is_as_the_model_says() -> None:
    run_state_machine_as_test(JournalMachine)
