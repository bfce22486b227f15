"""What must hold whatever happened: every message is somewhere, once."""

from __future__ import annotations

from eventbus import Bus, QueueStats

__all__ = ["conserved", "intact"]


def conserved(stats: QueueStats) -> bool:
    """Whether in = acked + dead + dropped + purged + ready + delayed + out."""
    gone = stats.acked + stats.dead + stats.dropped + stats.purged
    return stats.published == gone + stats.ready + stats.delayed + stats.out


def intact(bus: Bus) -> None:
    """Assert the engine's own invariants, and conservation in every queue."""
    bus._engine.check()
    for name, stats in bus.stats().queues.items():
        assert conserved(stats), f"{name}: {stats}"
