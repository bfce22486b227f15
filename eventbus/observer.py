"""Watching a bus: what `bus.observe()` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventbus.delivery import Delivery
    from eventbus.message import Death, Message

__all__ = ["Observer"]


class Observer:
    """Is told what happens on a bus. Subclass it and override what you need.

    Each method runs outside the bus's lock, in the thread that caused it, soon after it happened; what it raises is
    logged and goes no further. What is durable happens when it is written, in the journal's own thread, and so may what
    eventbus logs: all who write wait while a method runs there, and nothing can wait there for the journal or for room.
    ``put_nowait`` and ``publish_nowait`` can be used; a call that would wait raises `JournalError`. Nobody pays for
    observing while nobody observes.
    """

    def published(self, message: Message[Any], queues: Sequence[str]) -> None:
        """A message entered; ``queues`` are the names of those it went to."""

    def delivered(self, delivery: Delivery[Any]) -> None:
        """A message was lent to a consumer."""

    def settled(self, delivery: Delivery[Any], outcome: str) -> None:
        """A delivery ended; ``outcome`` is ack, nack, release or reject."""

    def dropped(self, message: Message[Any], queue: str) -> None:
        """A full queue let a message go."""

    def died(self, message: Message[Any], death: Death) -> None:
        """A message became a dead letter."""
