"""What the blocking face does beside waiting, in small."""

from __future__ import annotations

import pytest

from eventbus import Bus as AsyncBus
from eventbus import DeclarationError, Keyed, Policy
from eventbus.blocking import Bus


def test_the_face_of_a_bus_is_one_object_and_its_own_blocking_face() -> None:
    bus = AsyncBus()
    assert bus.blocking is bus.blocking
    assert bus.blocking.blocking is bus.blocking
    assert bus.blocking.queue("q") is not bus.queue("q")
    assert bus.blocking.queue("q") is bus.blocking.queue("q")


def test_a_delivery_knows_the_face_it_was_taken_through() -> None:
    bus = AsyncBus()
    bus.queue("q").put_nowait(1)
    bus.queue("q").put_nowait(2)
    mine, theirs = bus.queue("q").get_nowait(), bus.blocking.queue("q").get_nowait()
    assert (mine.queue, mine.bus) == (bus.queue("q"), bus)
    assert (theirs.queue, theirs.bus) == (bus.blocking.queue("q"), bus.blocking)


def test_the_faces_agree_on_kinds_and_types() -> None:
    bus = AsyncBus()
    bus.queue("q", type=int)
    with pytest.raises(DeclarationError, match="declared with the type"):
        bus.blocking.queue("q", type=str)
    with pytest.raises(DeclarationError, match="is a queue, not a subscription"):
        bus.blocking.subscription("q", "t")


def test_a_consumer_is_entered_before_it_is_iterated() -> None:
    consumer = Bus().queue("q").consume()
    with pytest.raises(RuntimeError, match="enter the consumer before you iterate it"):
        next(consumer)


def test_many_in_batches_go_where_slices_cannot() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(Keyed()))
    assert len(queue.put_many(list(range(1_000)), key=str)) == 1_000
    assert len(queue.get_many(2_000)) == 1_000


def test_gathering_that_is_interrupted_gives_all_back(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Bus().queue("q")
    queue.put_many([1, 2])
    receive = queue._receive
    calls = iter([receive])

    def once(*args: object) -> object:
        call = next(calls, None)
        if call is None:
            raise KeyboardInterrupt
        return call(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(queue, "_receive", once)
    with pytest.raises(KeyboardInterrupt):
        queue.get_many(3, within=10)
    assert [message.body for message in queue.peek(3)] == [1, 2]


def test_a_repr_names_it() -> None:
    bus = Bus()
    assert repr(bus.queue("q")) == "<Queue 'q'>"
    assert repr(bus.topic("t")) == "<Topic 't'>"
