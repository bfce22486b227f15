"""An event bus inside one process: queues, topics, filters, priorities and keyed partitions.

The names below are all that a program needs; `eventbus.filters` has the filters' text form.
"""

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
from eventbus.filters import msg
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

__all__ = [
    "EARLIEST",
    "LATEST",
    "Batch",
    "Bus",
    "BusStats",
    "ClosedError",
    "Clock",
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
