"""What a run came to, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

from eventbus import QueueStats
from eventbus.demo.shop import Outcome
from eventbus.inspection.table import aligned

__all__ = ["as_json", "as_table", "unconserved"]


class Read(Protocol):
    """What came in."""

    orders: int
    bad_lines: int


COLUMNS = ("queue", "kind", "in", "acked", "redelivered", "dead", "most waiting", "messages/s")


def rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """One row for each queue and subscription."""
    for name, stats in outcome.stats.queues.items():
        speed = round(stats.published / outcome.seconds) if outcome.seconds else 0
        values = (
            name,
            outcome.kinds[name],
            stats.published,
            stats.acked,
            stats.redelivered,
            stats.dead,
            stats.peak,
            speed,
        )
        yield dict(zip(COLUMNS, values, strict=True))


def unconserved(name: str, stats: QueueStats) -> str | None:
    """What is wrong if a queue's messages do not add up, or if some are left."""
    left = stats.ready + stats.delayed + stats.out
    accounted = stats.acked + stats.dead + stats.dropped + stats.purged + left
    if accounted != stats.published:
        return f"queue {name!r}: {stats.published} came in, but {accounted} are accounted for"
    return f"queue {name!r}: {left} messages are left" if left else None


def as_table(outcome: Outcome) -> str:
    """The rows as aligned text."""
    lines = [COLUMNS, *(tuple(row.values()) for row in rows(outcome))]
    return aligned(lines, 2)


def as_json(outcome: Outcome, read: Read, problems: list[str]) -> str:
    """The rows as one JSON object."""
    facts: dict[str, Any] = {
        "orders": read.orders,
        "bad_lines": read.bad_lines,
        "seconds": outcome.seconds,
        "unaccounted": problems,
    }
    if outcome.history is not None:
        facts |= {"resumed": outcome.resumed, "recovered": outcome.recovered, "again": outcome.history.again}
    return json.dumps({**facts, "queues": list(rows(outcome))}, indent=2)
