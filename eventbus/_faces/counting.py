"""What a queue counts, as people see it."""

from __future__ import annotations

from eventbus._core.queue import QueueState
from eventbus.stats import QueueStats

__all__ = ["queue_stats"]


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
