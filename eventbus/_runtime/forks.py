"""`os.fork`: the child has a copy of the bus, and none of its threads, so there it is closed and says so.

The fork waits for the lock of every bus, as `logging` does with its own, so that the copy is whole.
"""

from __future__ import annotations

import os
import threading
from typing import Final
from weakref import WeakSet

from eventbus._core.engine import Engine
from eventbus._runtime.exits import LAST_ORDERS
from eventbus._runtime.interrupts import SHIELD
from eventbus._runtime.vigils import VIGIL

__all__ = ["watch_forks"]

_engines: Final[WeakSet[Engine]] = WeakSet()
_lock: Final = threading.Lock()
_held: Final[list[Engine]] = []


def watch_forks(engine: Engine) -> None:
    """In a forked child, this engine is dead."""
    with _lock:
        _engines.add(engine)


def _before() -> None:
    _lock.acquire()
    for engine in list(_engines):
        engine.lock.acquire()
        _held.append(engine)


def _in_parent() -> None:
    while _held:
        _held.pop().lock.release()
    _lock.release()


def _in_child() -> None:
    for engine in _held:
        engine.abandon()
    SHIELD.forget()
    VIGIL.forget()
    LAST_ORDERS.forget()
    _in_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
