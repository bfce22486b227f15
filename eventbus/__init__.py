"""An event bus inside one process: queues, topics, filters, priorities and keyed partitions.

The names below are all that a program needs; `eventbus.filters` has the filters' text form.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from eventbus._runtime.clock import Clock
from eventbus.bus import Bus
from eventbus.channels import Queue, Subscription
from eventbus.codec import Codec
from eventbus.consuming import Consumer
from eventbus.delivery import Batch, Delivery
from eventbus.errors import (
    ClosedError,
    CodecError,
    DeclarationError,
    EmptyError,
    EventBusError,
    FilterError,
    FullError,
    JournalCorruptError,
    JournalError,
    JournalLockedError,
    SettlementError,
    StaleDeliveryError,
    UnroutableError,
)
from eventbus.message import Death, Message
from eventbus.observer import Observer
from eventbus.policy import (
    EARLIEST,
    LATEST,
    Backoff,
    Fifo,
    Isolation,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retention,
    Retry,
    murmur2,
)
from eventbus.topics import Topic

if TYPE_CHECKING:
    from eventbus.durability import Journal, Sync
    from eventbus.filters import msg
    from eventbus.handlers import Handler, Router
    from eventbus.stats import BusStats, QueueStats, TopicStats
    from eventbus.transactions import Transaction

__all__ = [
    "EARLIEST",
    "LATEST",
    "Backoff",
    "Batch",
    "Bus",
    "BusStats",
    "Clock",
    "ClosedError",
    "Codec",
    "CodecError",
    "Consumer",
    "Death",
    "DeclarationError",
    "Delivery",
    "EmptyError",
    "EventBusError",
    "Fifo",
    "FilterError",
    "FullError",
    "Handler",
    "Isolation",
    "Journal",
    "JournalCorruptError",
    "JournalError",
    "JournalLockedError",
    "Keyed",
    "Message",
    "Observer",
    "Overflow",
    "Policy",
    "Priority",
    "Queue",
    "QueueStats",
    "Retention",
    "Retry",
    "Router",
    "SettlementError",
    "StaleDeliveryError",
    "Subscription",
    "Sync",
    "Topic",
    "TopicStats",
    "Transaction",
    "UnroutableError",
    "msg",
    "murmur2",
]


LATER = {
    "BusStats": "eventbus.stats",
    "Handler": "eventbus.handlers",
    "Journal": "eventbus.durability",
    "QueueStats": "eventbus.stats",
    "Router": "eventbus.handlers",
    "Sync": "eventbus.durability",
    "TopicStats": "eventbus.stats",
    "Transaction": "eventbus.transactions",
    "msg": "eventbus.filters",
}
"""What is imported when first used, since not every program needs it and it takes its time."""


def __getattr__(name: str) -> object:
    """What is imported later."""
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(LATER[name]), name)
    return value
