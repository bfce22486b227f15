"""The past of a subscription that is declared before the journal is open."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventbus import EARLIEST, LATEST, Bus, Fifo, Journal, Keyed, Policy, Priority, Retention, Sync, blocking
from tests._journal.test_store import held
from tests.kit.clock import ManualClock
from tests.kit.journals import check, drain, writer_of


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """With three messages of the topic, of ten seconds each."""
    journal, clock = Journal(tmp_path / "j.db", Sync.OFF), ManualClock()
    with blocking.Bus(journal, clock=clock) as bus:
        for body in (1, 2, 3):
            bus.topic("t").publish(body, key=str(body))
            clock.advance(10)
    return journal


def bodies(queue: Any) -> list[Any]:
    return [body for _, body in drain(queue)]


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=str)
@pytest.mark.parametrize("durable", [None, False], ids=["durable", "in memory"])
def test_it_is_there_once_the_bus_is_entered(journal: Journal, order: Any, durable: bool | None) -> None:
    bus = blocking.Bus(journal)
    policy = Policy(order, durable=durable)
    early = bus.topic("t").subscription("early", policy, start=EARLIEST)
    second = bus.subscription("second", "t", policy, start=2)
    late = bus.subscription("late", "#", policy, start=LATEST)
    handled: list[int] = []
    bus.topic("t").on("handled", policy, start=EARLIEST)(lambda body: handled.append(body))
    with bus:
        assert bodies(early) == [1, 2, 3]
        assert bodies(second) == [2, 3]
        assert bodies(late) == []
        bus.topic("t").publish(4)
        assert (bodies(early), bodies(late)) == ([4], [4])
        check(bus)
    assert handled == [1, 2, 3, 4]


@pytest.mark.anyio
async def test_so_it_is_on_the_async_face(journal: Journal) -> None:
    bus = Bus(journal)
    private = bus.topic("t").subscription(start=EARLIEST)
    async with bus:
        assert [message.body for message in private.peek(9)] == [1, 2, 3]


@pytest.mark.parametrize("durable", [None, False], ids=["durable", "in memory"])
def test_a_seek_to_the_end_lasts_until_it_is_written(journal: Journal, durable: bool | None) -> None:
    with blocking.Bus(journal) as bus:
        queue = bus.topic("t").subscription("s", Policy(durable=durable), start=EARLIEST)
        assert bodies(queue) == [1, 2, 3]
        queue.seek(EARLIEST)
        assert queue.stats().ready == 3
        with held(bus):
            seek = threading.Thread(target=queue.seek, args=(LATEST,))
            seek.start()
            if durable is False:
                seek.join(30)
            else:
                outbox = writer_of(bus).outbox
                while not (outbox.items and outbox.items[-1].waiters):
                    threading.Event().wait(0.001)
                assert queue._state.loading
        seek.join(30)
        assert (queue.stats().ready, queue._state.loading) == (0, 0)
        check(bus)


def test_what_is_in_memory_is_read_at_once_and_the_journal_once_it_is_open(journal: Journal) -> None:
    clock = ManualClock()
    begin = datetime.fromtimestamp(clock.time() + 5, UTC)
    clock.advance(60)
    bus = blocking.Bus(journal, clock=clock)
    policy = Policy(durable=False)
    memory = bus.topic("m", durable=False, retain=Retention(count=9))
    memory.publish("a")
    assert bodies(bus.subscription("one", "m", policy, start=EARLIEST)) == ["a"]
    every = bus.subscription("every", ["m", "t"], policy, start=EARLIEST)
    timed = bus.subscription("timed", "t", policy, start=begin)
    sought = bus.subscription("sought", "t", policy)
    sought.seek(3)
    gone = bus.subscription("gone", "t", policy, start=EARLIEST)
    gone.unsubscribe()
    memory.publish("b")
    with bus:
        assert sorted(bodies(every), key=str) == [1, 2, 3, "a", "b"]
        assert bodies(timed) == [2, 3]
        assert bodies(sought) == [3]
        check(bus)


def test_an_error_of_its_partitioner_ends_the_entering(journal: Journal) -> None:
    bus = blocking.Bus(journal)

    def partition(key: Any) -> int:
        raise ZeroDivisionError

    bus.subscription("s", "t", Policy(Keyed(partitions=2, partitioner=partition), durable=False), start=EARLIEST)
    with pytest.raises(ZeroDivisionError), bus:
        pass
