"""What a bus with a journal does where nobody writes: the small edges of the core."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eventbus import DeclarationError, Delivery, Retention, blocking
from eventbus._core.dedup import Seen
from eventbus._core.engine import Engine
from eventbus._core.schedule import Schedule
from eventbus.message import NO_HEADERS


def test_an_id_is_forgotten_for_its_own_message_alone() -> None:
    engine = Engine(Delivery, lambda text, error: None)
    seen = Seen(9.0, Schedule(engine.errands, engine.doorbell))
    seen.remember("a", 1, 0.0)
    seen.forget("a", 2)
    assert seen.find("a", 0.0) == 1
    seen.forget("a", 1)
    assert seen.find("a", 0.0) == 0
    seen.remember("a", 3, 1.0)
    assert seen.find("a", 9.0) == 3
    assert seen.find("a", 10.0) == 0
    assert not seen.row


def test_a_forked_child_lets_go_of_the_journal() -> None:
    engine = Engine(Delivery, lambda text, error: None)
    gone: list[bool] = []
    outbox: Any = SimpleNamespace(forget=lambda: gone.append(True), broken=None)
    engine.outbox = outbox
    engine.abandon()
    assert gone == [True]


def test_what_was_moved_out_of_a_queue_that_ended_meanwhile_counts_no_more() -> None:
    engine = Engine(Delivery, lambda text, error: None)
    queue = engine.declare_queue("q", None)
    queue.withheld = 1
    engine.remove(queue)
    queue.moved((1, 0.0, "b", None, NO_HEADERS, 0, "q", None, None))
    assert queue.withheld == 0


def test_a_durable_topic_is_declared_once(tmp_path: Path) -> None:
    with blocking.Bus(tmp_path / "bus.db") as bus:
        bus.topic("t", retain=Retention(9))
        bus.topic("t", retain=Retention(9))
        with pytest.raises(DeclarationError, match="durable"):
            bus.topic("t", durable=False)
