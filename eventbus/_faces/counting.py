"""What a queue and a bus count, as people see it. Imported when somebody asks."""

from __future__ import annotations

from types import MappingProxyType

from eventbus._core.engine import Engine
from eventbus._core.queue import QueueState
from eventbus.stats import BusStats, QueueStats, TopicStats

__all__ = ["bus_stats", "queue_stats"]


def bus_stats(engine: Engine, now: float) -> BusStats:
    """The snapshot of everything, under the lock."""
    queues = {name: queue_stats(state, now) for name, state in engine.queues.items()}
    topics = {
        name: TopicStats(t.published, t.unroutable, 0 if t.retained is None else len(t.retained))
        for name, t in engine.wiring.topics.items()
    }
    return BusStats(MappingProxyType(queues), MappingProxyType(topics), engine.offset)


def queue_stats(state: QueueState, now: float) -> QueueStats:
    """The snapshot of one queue."""
    with state.lock:
        state.note_level()
        oldest = state.oldest()
        # Acks and handouts take no lock: each holder is looked at once.
        held = [(holder.lent(), len(holder.buffer)) for holder in state.all_holders()]
        lent = sum(pair[0] for pair in held)
        reserved = sum(pair[1] for pair in held)
        return QueueStats(
            published=state.published(),
            ready=len(state.backlog) + reserved + state.unread,
            delayed=len(state.delayed),
            out=lent - reserved,
            acked=state.published() - state.gone() - len(state.backlog) - len(state.delayed) - lent - state.unread,
            failed=state.failed,
            redelivered=state.backlog.redelivered,
            dead=state.dead,
            dropped=state.dropped,
            purged=state.purged,
            lag=state.unread,
            peak=state.peak,
            oldest=None if oldest is None else max(0.0, now - oldest[1]),
            consumers=len(state.holders),
            waiting_putters=len(state.putters),
        )
