"""The bus for threads and scripts: the same nouns and names, with no event loop in the way.

``from eventbus.blocking import Bus`` makes a bus for threads; ``bus.blocking`` is this face of a bus that async code
holds, so threads and tasks may share one. Every call that can wait takes a ``timeout`` in seconds: after it the call
raises `TimeoutError`, and nothing was changed. 0 tries once; None, which is the default, waits without an end.
"""

from __future__ import annotations

from eventbus.blocking.bus import Bus
from eventbus.blocking.channels import Queue, Subscription
from eventbus.blocking.consuming import Consumer
from eventbus.blocking.topics import Topic
from eventbus.blocking.transactions import Transaction
from eventbus.delivery import Batch, Delivery

__all__ = ["Batch", "Bus", "Consumer", "Delivery", "Queue", "Subscription", "Topic", "Transaction"]
