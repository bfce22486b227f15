"""An observer as the engine tells it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from eventbus._core.leases import Lease
from eventbus.message import Death, Record, message_of
from eventbus.observer import Observer

__all__ = ["Watching"]

logger = logging.getLogger("eventbus")


class Watching:
    """An observer as the engine tells it: records become messages, and what it raises is logged."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def published(self, record: Record, queues: Sequence[str]) -> None:
        self._tell(self.observer.published, message_of(record), queues)

    def delivered(self, lease: Lease) -> None:
        self._tell(self.observer.delivered, lease)

    def settled(self, lease: Lease, outcome: str) -> None:
        self._tell(self.observer.settled, lease, outcome)

    def dropped(self, record: Record, queue: str) -> None:
        self._tell(self.observer.dropped, message_of(record), queue)

    def died(self, record: Record, death: Death) -> None:
        self._tell(self.observer.died, message_of(record), death)

    def _tell(self, method: Callable[..., None], *facts: Any) -> None:
        try:
            method(*facts)
        except Exception:
            logger.exception("observer %r failed in %s", self.observer, method.__name__)
