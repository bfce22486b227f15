"""Filters: two comparisons on the body, against the same written by hand as a lambda."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TypeVar

from benchmarks.harness import Figure
from benchmarks.workload import LostMessageError, Order, orders
from eventbus import Message, msg
from eventbus.filters import as_predicate

SPAN = 1_000  # messages, gone over again and again
T = TypeVar("T")

WHERE = (msg.body.total >= 100) & (msg.body.region == "EU")


def by_hand(message: Message[Order]) -> bool:
    return message.body.total >= 100 and message.body.region == "EU"


def messages() -> list[Message[Order]]:
    return [Message(body, topic="orders", offset=offset) for offset, body in enumerate(orders(SPAN))]


def timed(test: Callable[[T], bool], items: Iterable[T], times: int) -> float:
    """Seconds to test all items so many times over; how many match must agree with the bodies."""
    found = 0
    start = perf_counter()
    for _ in range(times):
        for item in items:
            if test(item):
                found += 1
    seconds = perf_counter() - start
    expected = times * sum(body.total >= 100 and body.region == "EU" for body in orders(SPAN))
    if found != expected:
        raise LostMessageError(f"{found} messages matched where {expected} should")
    return seconds


def on_messages(count: int) -> float:
    return timed(WHERE.matches, messages(), max(1, count // SPAN))


def on_records(count: int) -> float:
    """As the bus evaluates it: the filter made into a predicate, on what stands behind a message."""
    test = as_predicate(WHERE).test
    assert test is not None, "only no filter at all has no test"
    return timed(test, [message._record for message in messages()], max(1, count // SPAN))


def written_out(count: int) -> float:
    return timed(by_hand, messages(), max(1, count // SPAN))


FIGURES = (
    Figure(
        "a filter of two comparisons, in the bus",
        "the same as a lambda",
        on_records,
        written_out,
        0.2,
        0.45,
        count=100_000,
    ),
    Figure(
        "a filter of two comparisons, matches()",
        "the same as a lambda",
        on_messages,
        written_out,
        None,
        None,
        count=100_000,
    ),
)
