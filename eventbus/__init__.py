"""An event bus inside one process: queues, topics, filters, priorities and keyed partitions.

The names below are all that a program needs; `eventbus.filters` has the filters' text form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus._runtime.clock import Clock
from eventbus.bus import Bus
from eventbus.channels import Queue, Subscription
from eventbus.consuming import Consumer
from eventbus.delivery import Batch, Delivery
from eventbus.errors import (
    ClosedError,
    DeclarationError,
    EmptyError,
    EventBusError,
    FilterError,
    FullError,
    SettlementError,
    StaleDeliveryError,
    UnroutableError,
)
from eventbus.message import Death, Message
from eventbus.observer import Observer
from eventbus.policy import (
    EARLIEST,
    LATEST,
    Fifo,
    Isolation,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retention,
    murmur2,
)
from eventbus.stats import BusStats, QueueStats, TopicStats
from eventbus.topics import Topic

if TYPE_CHECKING:
    from eventbus.filters import msg

__all__ = [
    "EARLIEST",
    "LATEST",
    "Batch",
    "Bus",
    "BusStats",
    "Clock",
    "ClosedError",
    "Consumer",
    "Death",
    "DeclarationError",
    "Delivery",
    "EmptyError",
    "EventBusError",
    "Fifo",
    "FilterError",
    "FullError",
    "Isolation",
    "Keyed",
    "Message",
    "Observer",
    "Overflow",
    "Policy",
    "Priority",
    "Queue",
    "QueueStats",
    "Retention",
    "SettlementError",
    "StaleDeliveryError",
    "Subscription",
    "Topic",
    "TopicStats",
    "UnroutableError",
    "msg",
    "murmur2",
]


def __getattr__(name: str) -> object:
    """`msg` is imported when first used: see `eventbus.filters`."""
    if name != "msg":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventbus.filters import msg

    globals()["msg"] = msg
    return msg
