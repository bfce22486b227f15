"""Requests: who asks waits for one answer, and the first one counts.

A request is a message that carries, beside its body, where its answer goes. It is tried once: whatever becomes of it
but an ack is its answer, an error, and it is never a dead letter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eventbus._core.waiting import Waiter
from eventbus.errors import EventBusError
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.engine import Engine


class Request:
    """One request, and its answer."""

    __slots__ = ("done", "engine", "error", "value", "waiter")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.waiter: Waiter | None = None
        self.done = False
        """Whether it was answered, or nobody waits any more."""
        self.value: Any = None
        self.error: BaseException | None = None

    def attempt(self, waiter: Waiter) -> bool:
        """Whether there is an answer; parks the waiter if not."""
        engine = self.engine
        with engine.lock:
            if self.done:
                engine.askers.leave(waiter)
                return True
            engine.require_open()
            self.waiter = waiter
            engine.askers.park(waiter)
            return False

    def give_up(self, waiter: Waiter) -> None:
        """Nobody waits any more."""
        with self.engine.lock:
            self.engine.askers.leave(waiter)
            self.waiter = None

    def answer(self, value: Any, error: BaseException | None = None) -> bool:
        """Answer, unless that was done: whether somebody hears it."""
        engine = self.engine
        with engine.lock:
            if self.done:
                return False
            self.done = True
            self.value = value
            self.error = error
            if self.waiter is None:
                return False
            engine.askers.rouse_one(self.waiter, engine.errands)
            return True


def request_of(record: Record) -> Request | None:
    """The request that a message is, if it is one."""
    return None if record[7] is None else record[7].request


def refuse(record: Record, why: str) -> None:
    """If that message is a request, its answer is an error that says why."""
    request = request_of(record)
    if request is not None:
        request.answer(None, EventBusError(f"request {record[0] or ''} to {record[6]!r} {why}"))


def refuse_all(records: Iterable[Record], why: str) -> None:
    """The same for several."""
    for record in records:
        if record[7] is not None:
            refuse(record, why)
