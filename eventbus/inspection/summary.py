"""How a journal stands, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

from eventbus._journal.standing import QueueStanding, Standing, TopicStanding
from eventbus.inspection.moments import age, instant, size
from eventbus.inspection.output import printable
from eventbus.inspection.table import aligned

__all__ = ["as_json", "as_text"]

DAY = 86_400.0


def forgotten(standing: Standing, time: float, days: float) -> list[str]:
    """Topics and queues that no module has declared for so many days. Where others' dead letters go needs no module."""
    graves = {queue.dead_letter for queue in standing.queues}
    declared = [
        *((topic.name, topic.declared) for topic in standing.topics),
        *((queue.name, queue.declared) for queue in standing.queues if queue.name not in graves),
    ]
    return [name for name, when in declared if when is None or time - when > days * DAY]


def as_json(path: str, standing: Standing, owner: int | None, time: float, days: float) -> str:
    """One JSON object; times are ISO's, in UTC."""
    facts = {
        "path": path,
        "bytes": standing.bytes,
        "log_bytes": standing.log_bytes,
        "last_offset": standing.offset,
        "open": owner is not None,
        "owner": owner or None,
        "closed_cleanly": None if owner is not None else standing.clean,
        "topics": [_topic_facts(topic) for topic in standing.topics],
        "queues": [_queue_facts(queue) for queue in standing.queues],
        "not_declared_for_long": forgotten(standing, time, days),
    }
    return json.dumps(facts, indent=2, ensure_ascii=False)


def _when(time: float | None) -> str | None:
    return None if time is None else instant(time)


def _topic_facts(topic: TopicStanding) -> dict[str, Any]:
    return {
        "name": topic.name,
        "messages": topic.messages,
        "bytes": topic.bytes,
        "oldest": _when(topic.oldest),
        "retention": None if topic.retention is None else json.loads(topic.retention),
        "declared": _when(topic.declared),
    }


def _queue_facts(queue: QueueStanding) -> dict[str, Any]:
    return {
        "name": queue.name,
        "kind": _kind(queue),
        "topics": [{"pattern": pattern, "filter": filter} for pattern, filter in queue.bindings],
        "unsettled": queue.unsettled,
        "failed": queue.failed,
        "later": queue.later,
        "oldest": _when(queue.oldest),
        "dead_letter": queue.dead_letter,
        "declared": _when(queue.declared),
    }


def _kind(queue: QueueStanding) -> str:
    return "subscription" if queue.subscription else "queue"


def as_text(path: str, standing: Standing, owner: int | None, time: float, days: float) -> str:
    """A line about the file, a table, and who was not declared for long."""
    log = f" and {size(standing.log_bytes)} of log" if standing.log_bytes else ""
    lines = [f"{path}: {size(standing.bytes)}{log}, last offset {standing.offset:,}, {_state(standing, owner)}"]
    rows: list[tuple[object, ...]] = [("name", "kind", "messages", "failed", "later", "oldest", "declared")]
    for topic in standing.topics:
        declared = "-" if topic.declared is None else f"{age(time - topic.declared)} ago"
        rows.append((printable(topic.name), "topic", topic.messages, "", "", _age(topic.oldest, time), declared))
    for queue in standing.queues:
        counts = queue.unsettled, queue.failed, queue.later
        declared = f"{age(time - queue.declared)} ago"
        rows.append((printable(queue.name), _kind(queue), *counts, _age(queue.oldest, time), declared))
    if len(rows) > 1:
        lines += ["", aligned(rows, 2)]
    if names := forgotten(standing, time, days):
        lines += ["", f"not declared for {days:g} days, and so read by nobody: {', '.join(map(printable, names))}"]
    return "\n".join(lines)


def _age(oldest: float | None, time: float) -> str:
    return age(None if oldest is None else time - oldest)


def _state(standing: Standing, owner: int | None) -> str:
    if owner is not None:
        return f"open in process {owner}" if owner else "open in another process"
    return "closed" if standing.clean else "not closed in good order: it is looked through when it is opened next"
