"""Threads of our own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["start_daemon"]


def start_daemon(name: str, target: Callable[..., object], *facts: Any) -> threading.Thread | None:
    """A thread that keeps the interpreter from ending no longer than it has to; None when it has begun to end.

    From CPython 3.12 on no thread can be started then. What the thread was for is left undone: due things are done by
    whoever looks next.
    """
    thread = threading.Thread(target=target, args=facts, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
