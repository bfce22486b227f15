"""A message that is on disk only is withdrawn like any other."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventbus import EARLIEST, Journal, JournalCorruptError, Keyed, Policy, Priority, Sync, blocking
from eventbus._core import depot as depots
from tests.kit.clock import ManualClock
from tests.kit.journals import be_quiet, check, drain

ORDERS = [None, Policy(Priority(), capacity=None), Policy(Keyed(), capacity=None), Policy(Keyed(3), capacity=None)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "j.db", sync=Sync.OFF)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depots, "WINDOW", 8)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("policy", ORDERS, ids=lambda policy: str(policy and policy.order))
def test_what_lies_beyond_the_window_is_withdrawn_for_good(journal: Journal, policy: Policy | None) -> None:
    chance = random.Random(3)
    with blocking.Bus(journal) as bus:
        queue = bus.queue("q", policy)
        left = {queue.put(n, key=str(n % 7), priority=n % 3) for n in range(200)}
        gone = chance.sample(sorted(left), 80)
        assert queue.stats().lag > 100
        for offset in gone:
            assert queue.cancel(offset)
            assert not queue.cancel(offset)
            check(bus)
        left -= set(gone)
        assert (queue.stats().purged, queue.stats().ready) == (80, 120)
        some = queue.get_many(5)
        left -= {delivery.offset for delivery in some}
        some.ack()
    with blocking.Bus(journal) as bus:
        queue = bus.queue("q", policy)
        assert {offset for offset, _ in drain(queue)} == left
        assert not any(map(queue.cancel, left))
        check(bus)


@pytest.mark.parametrize("policy", ORDERS, ids=lambda policy: str(policy and policy.order))
def test_when_the_last_on_disk_is_withdrawn_the_queue_goes_on(
    journal: Journal, policy: Policy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depots, "WINDOW", 300 * (256 if policy and isinstance(policy.order, Keyed) else 1))
    with blocking.Bus(journal) as bus:
        queue = bus.queue("q", policy)
        offsets = queue.put_many(range(300), key="k")
        last = queue.put("last", key="k")
        assert queue.stats().lag == 1
        assert queue.cancel(last)
        assert queue.stats().lag == 0
        check(bus)
        offsets += [queue.put(n, key="k") for n in range(40)]
        assert [offset for offset, _ in drain(queue)] == offsets
        check(bus)
        bus.flush()
        be_quiet(bus)
        assert not queue._state.depot.gone, "nothing is remembered that is settled anyway"


def test_what_is_scheduled_is_withdrawn_before_it_was_read(journal: Journal) -> None:
    clock = ManualClock()
    with blocking.Bus(journal, clock=clock) as bus:
        queue = bus.queue("q")
        later, ready = queue.put("later", delay=60), queue.put("now")
    bus = blocking.Bus(journal, clock=clock)
    with bus:
        queue = bus.subscription("q", "none")
        assert queue.cancel(later)
        assert (queue.stats().purged, queue.stats().ready, queue.stats().delayed) == (1, 1, 0)
        be_quiet(bus)
        check(bus)
        clock.advance(60)
        assert drain(queue) == [(ready, "now")]
    with blocking.Bus(journal, clock=clock) as bus:
        assert bus.query("SELECT * FROM eventbus_states") == []
        assert bus.stats().queues["q"].ready == 0


@pytest.mark.usefixtures("small")
def test_only_what_is_in_this_queue_is_withdrawn(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        topic = bus.topic("t")
        some = topic.subscription("some", where="body >= 10")
        ranked = topic.subscription("ranked", Policy(Priority(), capacity=None), where="body >= 10")
        every = topic.subscription("every")
        offsets = [topic.publish(n) for n in range(60)]
        elsewhere = bus.queue("q").put(1)
        in_memory = bus.queue("m", Policy(durable=False)).put(1)
        for queue in (some, ranked):
            assert not queue.cancel(offsets[5])
            assert not queue.cancel(elsewhere)
            for offset in (0, -1, 1 << 70, in_memory, in_memory + 1):
                assert not queue.cancel(offset)
            assert queue.cancel(offsets[55])
        assert every.cancel(offsets[5])
        check(bus)
        assert [body for _, body in drain(some)] == [n for n in range(10, 60) if n != 55]
        assert len(drain(every)) == 59
        check(bus)


@pytest.mark.usefixtures("small")
def test_what_was_sought_is_withdrawn(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        topic = bus.topic("t")
        offsets = topic.publish_many(range(600))
        passing = bus.topic("other").publish(600)
        late = topic.subscription("late", start=EARLIEST, where="body != 599")
        be_quiet(bus)
        assert late.stats().lag
        assert not late.cancel(passing)
        assert not late.cancel(offsets[599])
        assert late.cancel(offsets[598])
        check(bus)
        assert [body for _, body in drain(late)] == list(range(598))
        check(bus)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("settles", [False, True], ids=["read", "settled"])
def test_what_moves_while_it_is_looked_for(journal: Journal, settles: bool) -> None:
    with blocking.Bus(journal) as bus:
        queue = bus.queue("q")
        offsets = [queue.put(n) for n in range(30)]
        reader = bus._host.journaling.reader
        one: Callable[..., Any] = reader.one

        def one_and_more(*facts: Any) -> Any:
            found = one(*facts)
            for _ in range(20 if settles else 19):
                queue.get(timeout=30).ack()
            while queue._state.depot.shelves[0].edge < offsets[19]:
                threading.Event().wait(0.001)
            return found

        reader.one = one_and_more
        assert queue.cancel(offsets[19]) is not settles
        check(bus)
        assert drain(queue)[-1] == (offsets[29], 29)
        check(bus)


@pytest.mark.usefixtures("small")
def test_what_was_ready_before_a_seek_is_not_withdrawn_after_it(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        queue = bus.topic("t").subscription("s", Policy(Priority(), capacity=None))
        bus.queue("other")
        bus.topic("t").publish_many(range(600))
        alone = queue.put("to it alone")
        reader = bus._host.journaling.reader
        one: Callable[..., Any] = reader.one
        unread: Callable[..., Any] = reader.unread

        def and_seek(found: Any) -> Any:
            queue.seek(EARLIEST)
            return found

        reader.one = lambda *facts: and_seek(one(*facts))
        assert not queue.cancel(alone)
        check(bus)
        reader.unread = lambda *facts: and_seek(list(unread(*facts)))
        assert queue.redrive(where="body == 599", to="other") == 0
        check(bus)
        assert len(drain(queue)) == 600


@pytest.mark.usefixtures("small")
def test_a_damaged_message_is_not_withdrawn(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        queue = bus.queue("q")
        offsets = queue.put_many(range(300))  # the last is not on the next page, which may be read at any time
        bus.flush()
        writer = bus._host.journaling.writer.run.connection
        be_quiet(bus)
        writer.execute("UPDATE eventbus_messages SET body = '99' WHERE offset = ?", (offsets[-1],))
        with pytest.raises(JournalCorruptError):
            queue.cancel(offsets[-1])
        check(bus)
