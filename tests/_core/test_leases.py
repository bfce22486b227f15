"""The transition table, and what a lease knows of its message's past."""

from __future__ import annotations

from itertools import product

import pytest

from eventbus import Backoff, Bus, ClosedError, Delivery, Keyed, Policy, Retry, SettlementError, StaleDeliveryError
from eventbus._core.leases import AFTER, SETTLEMENTS, Fate, repeat

CALLS = tuple(fate.value for fate in SETTLEMENTS)


def test_the_table_answers_every_call_in_every_state() -> None:
    assert set(AFTER) == set(Fate)
    assert all(tuple(calls) == SETTLEMENTS for calls in AFTER.values())


def test_a_settlement_leads_to_the_state_of_its_name() -> None:
    assert SETTLEMENTS == (Fate.ACKED, Fate.NACKED, Fate.RELEASED, Fate.REJECTED)
    assert CALLS == ("ack", "nack", "release", "reject")
    for call in SETTLEMENTS:
        assert AFTER[Fate.OUT][call] is call
        assert callable(getattr(Delivery, call.value))


def test_what_is_settled_accepts_its_own_settlement_again_and_no_other() -> None:
    for state, call in product(SETTLEMENTS, SETTLEMENTS):
        assert AFTER[state][call] is (call if state is call else SettlementError)


def test_nothing_leads_out_of_stale_and_closed() -> None:
    assert set(AFTER[Fate.STALE].values()) == {StaleDeliveryError}
    assert set(AFTER[Fate.CLOSED].values()) == {ClosedError}


@pytest.mark.parametrize("first", SETTLEMENTS)
@pytest.mark.parametrize("second", SETTLEMENTS)
def test_repeating_looks_the_table_up(first: Fate, second: Fate) -> None:
    queue = Bus().queue("q")
    queue.put_nowait("b")
    delivery = queue.get_nowait()
    assert delivery.fate is Fate.OUT
    getattr(delivery, first.value)()
    assert delivery.fate is first
    if first is second:
        repeat(delivery, second)
    else:
        with pytest.raises(SettlementError) as caught:
            repeat(delivery, second)
        assert (caught.value.settled, caught.value.attempted) == (first.value, second.value)
    assert delivery.fate is first


def test_a_lease_has_a_lane_in_a_queue_with_lanes_alone() -> None:
    for policy in (Policy(), Policy(Keyed(3))):
        queue = Bus().queue("q", policy)
        queue.put_nowait("b", key="k")
        assert (queue.get_nowait().lane is None) == (policy == Policy())


def test_a_lease_takes_its_attempts_from_the_past() -> None:
    queue = Bus().queue("q", Policy(retry=Retry(backoff=Backoff(first=0))))
    queue.put_nowait("b")
    expected = [(1, 0), (2, 1), (3, 1)]
    for (attempt, failures), call in zip(expected, ("nack", "release", "ack"), strict=True):
        delivery = queue.get_nowait()
        assert (delivery.attempt, delivery.failures) == (attempt, failures)
        getattr(delivery, call)()
