"""Policies, retentions and filters as text, so that a queue that no module has declared yet keeps its promises."""

from __future__ import annotations

from typing import Any

import msgspec

from eventbus.filters.predicate import Predicate, as_predicate
from eventbus.policy import (
    Backoff,
    Fifo,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retention,
    Retry,
    murmur2,
)

__all__ = [
    "filter_of",
    "order_text",
    "policy_of",
    "retention_of",
    "text_of_filter",
    "text_of_policy",
    "text_of_retention",
]


def _order(order: Any) -> dict[str, Any]:
    if isinstance(order, Fifo):
        return {"kind": "fifo"}
    if isinstance(order, Priority):
        return {"kind": "priority"}
    partitioner = None
    if order.partitioner is not None:
        partitioner = "murmur2" if order.partitioner is murmur2 else "own"
    return {"kind": "keyed", "partitions": order.partitions, "sticky": order.sticky, "partitioner": partitioner}


def order_text(order: Any) -> str:
    """What decides on which shelves messages stand."""
    return msgspec.json.encode(_order(order)).decode()


def text_of_policy(policy: Policy) -> str:
    """As JSON. A partitioner of the user's own is only noted."""
    facts = {
        "order": _order(policy.order),
        "capacity": policy.capacity,
        "overflow": policy.overflow.value,
        "attempts": policy.retry.attempts,
        "backoff": [getattr(policy.retry.backoff, name) for name in ("first", "factor", "limit", "jitter")],
        "dead_letter": policy.dead_letter,
        "lease": policy.lease,
        "ttl": policy.ttl,
        "dedup": policy.dedup,
        "single_active": policy.single_active,
    }
    return msgspec.json.encode(facts).decode()


def policy_of(text: str) -> Policy:
    """The policy, but for a partitioner of the user's own."""
    facts = msgspec.json.decode(text)
    order = facts.pop("order")
    kind = order.pop("kind")
    if kind == "keyed":
        named = order.pop("partitioner") == "murmur2"
        made: Any = Keyed(**order, partitioner=murmur2) if named else Keyed(**order)
    else:
        made = Fifo() if kind == "fifo" else Priority()
    retry = Retry(facts.pop("attempts"), Backoff(*facts.pop("backoff")))
    return Policy(made, facts.pop("capacity"), Overflow(facts.pop("overflow")), retry=retry, **facts)


def text_of_retention(retention: Retention | None) -> str | None:
    """As JSON."""
    return None if retention is None else msgspec.json.encode(retention).decode()


def retention_of(text: str | None) -> Retention | None:
    """The retention."""
    return None if text is None else Retention(**msgspec.json.decode(text))


def text_of_filter(source: object) -> tuple[str | None, bool]:
    """A filter's text, None for everything, and whether it is a function, which has none."""
    from eventbus.filters.tree import Filter

    return (repr(source), False) if isinstance(source, Filter) else (None, source is not None)


def filter_of(text: str | None) -> Predicate:
    """The filter of a text."""
    return as_predicate(text)
