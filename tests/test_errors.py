"""Errors say whose fault it is and what to do next, and carry their facts as attributes."""

from __future__ import annotations

import pytest

import eventbus
from eventbus import (
    ClosedError,
    CodecError,
    DeclarationError,
    EmptyError,
    EventBusError,
    FilterError,
    FullError,
    SettlementError,
    StaleDeliveryError,
    UnroutableError,
)
from eventbus import errors as module

EVERY: dict[type[EventBusError], EventBusError] = {
    ClosedError: ClosedError("the bus"),
    FullError: FullError("q", 3),
    EmptyError: EmptyError("q"),
    DeclarationError: DeclarationError("queue 'q' is declared otherwise", name="q", declared=1, requested=2),
    SettlementError: SettlementError("q", 7, "ack", "nack"),
    StaleDeliveryError: StaleDeliveryError("q", 7, "ack"),
    UnroutableError: UnroutableError("t"),
    FilterError: FilterError("no filter", text="body.", position=5),
    CodecError: CodecError("no JSON", channel="q", type=int, data=b"[", offset=7),
}


def test_the_hierarchy_is_the_contracts() -> None:
    bases = {kind: kind.__bases__ for kind in EVERY}
    assert bases == {
        ClosedError: (EventBusError,),
        FullError: (EventBusError,),
        EmptyError: (EventBusError,),
        DeclarationError: (EventBusError, ValueError),
        SettlementError: (EventBusError,),
        StaleDeliveryError: (SettlementError,),
        UnroutableError: (EventBusError,),
        FilterError: (EventBusError, ValueError),
        CodecError: (EventBusError, ValueError),
    }
    assert EventBusError.__bases__ == (Exception,)


def test_every_error_is_public() -> None:
    assert set(module.__all__) == {kind.__name__ for kind in (EventBusError, *EVERY)}
    assert set(module.__all__) <= set(eventbus.__all__)


@pytest.mark.parametrize("error", EVERY.values(), ids=lambda error: type(error).__name__)
def test_an_error_is_caught_as_the_buss(error: EventBusError) -> None:
    with pytest.raises(EventBusError):
        raise error


def test_closed_names_what_is_closed() -> None:
    error = ClosedError("queue 'q'")
    assert error.what == "queue 'q'"
    assert str(error).startswith("queue 'q' is closed")


def test_full_names_the_queue_its_capacity_and_what_to_do() -> None:
    error = FullError("q", 3)
    assert (error.queue, error.capacity, error.cycle) == ("q", 3, ())
    assert "'q' is full (3 messages)" in str(error)
    assert "await put()" in str(error)


def test_full_names_the_cycle_back_to_its_start() -> None:
    error = FullError("a", 1, ["a", "b"])
    assert error.cycle == ("a", "b")
    assert "a -> b -> a" in str(error)
    assert "put_nowait()" in str(error)


def test_empty_names_the_queue_and_what_to_do() -> None:
    error = EmptyError("q")
    assert error.queue == "q"
    assert "await get()" in str(error)


def test_a_declaration_carries_both_sides() -> None:
    error = DeclarationError("differs", name="q", declared=1, requested=2)
    assert (str(error), error.name, error.declared, error.requested) == ("differs", "q", 1, 2)
    bare = DeclarationError("bad", name="")
    assert (bare.declared, bare.requested) == (None, None)


def test_a_settlement_names_both_calls() -> None:
    error = SettlementError("q", 7, "ack", "nack")
    assert (error.queue, error.offset, error.settled, error.attempted) == ("q", 7, "ack", "nack")
    assert "delivery 7 of queue 'q' was settled with ack() and cannot be settled again with nack()" in str(error)


def test_a_stale_delivery_is_a_settlement_that_says_what_comes() -> None:
    error = StaleDeliveryError("q", 7, "ack")
    assert (error.queue, error.offset, error.settled, error.attempted) == ("q", 7, "stale", "ack")
    assert "expect the message again" in str(error)


def test_unroutable_names_the_topic() -> None:
    error = UnroutableError("orders.new")
    assert error.topic == "orders.new"
    assert "'orders.new'" in str(error)


def test_a_filter_error_carries_text_and_column() -> None:
    error = FilterError("no filter", text="body.", position=5)
    assert (str(error), error.text, error.position) == ("no filter", "body.", 5)
    assert (FilterError("no").text, FilterError("no").position) == (None, None)


def test_a_codec_error_carries_the_channel_the_type_and_what_could_not_be_read() -> None:
    error = CodecError("no JSON", channel="q", type=int, data=b"[", offset=7)
    assert (str(error), error.channel, error.type, error.data, error.offset) == ("no JSON", "q", int, b"[", 7)
    bare = CodecError("no JSON", channel="q", type=None)
    assert (bare.data, bare.offset) == (None, None)
