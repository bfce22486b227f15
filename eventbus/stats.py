"""Frozen snapshots of what a bus counts, so that nobody has to read its private fields."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["BusStats", "QueueStats", "TopicStats"]


@attrs.frozen
class QueueStats:
    """One queue. At every moment published = acked + dead + dropped + purged + ready + delayed + out.

    ``published`` entered; ``ready`` wait, ``delayed`` wait for their time, ``out`` are with consumers. ``acked`` are
    done, ``dead`` became dead letters, ``dropped`` fell to the overflow policy, ``purged`` were taken away by a
    purge, a cancel, a seek or the end of the subscription. ``failed`` counts failures, ``redelivered`` deliveries
    after the first. ``lag`` counts what is not read into memory yet, ``peak`` is the most that ever were ready, and
    ``oldest`` the age in seconds of the oldest message that is ready, None if none is.
    """

    published: int
    ready: int
    delayed: int
    out: int
    acked: int
    failed: int
    redelivered: int
    dead: int
    dropped: int
    purged: int
    lag: int
    peak: int
    oldest: float | None
    consumers: int
    waiting_putters: int


@attrs.frozen
class TopicStats:
    """One topic: messages ``published``, how many of them no queue wanted (``unroutable``), and how many it retains."""

    published: int
    unroutable: int
    retained: int


@attrs.frozen
class BusStats:
    """The whole bus, by name; subscriptions are among the queues. ``offset`` is the last one given."""

    queues: Mapping[str, QueueStats]
    topics: Mapping[str, TopicStats]
    offset: int
