"""What the workers of a handler have in common, be they tasks or threads: how a delivery ends."""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from eventbus._core.errands import run_errands
from eventbus._core.leases import Fate
from eventbus.answering import answer_failure
from eventbus.delivery import Batch, Delivery
from eventbus.errors import ClosedError, SettlementError

if TYPE_CHECKING:
    from eventbus._faces.consumer import ConsumerFace
    from eventbus.handlers import Handler

__all__ = ["Labour", "failed", "labour_for", "refuse_awaitable", "say_stale"]

logger = logging.getLogger("eventbus")


class Labour(ABC):
    """One task or thread that works for a handler, by a consumer of its own."""

    def __init__(self, handler: Handler, consumer: ConsumerFace[Any]) -> None:
        self.handler = handler
        self.job = handler._job
        self.crew = handler._crew
        self.consumer = consumer
        self.state = consumer._state
        self.holder = consumer._holder
        self.holder.serving = True

    @abstractmethod
    def start(self) -> None:
        """Attach the consumer, which may raise, and begin; from any thread."""

    @abstractmethod
    def stop(self, *, at_once: bool) -> None:
        """End soon; from any thread."""

    def stuck(self) -> bool:
        """Whether it runs what nobody can interrupt."""
        return False

    def lost(self) -> bool:
        """Whether the loop that it worked in has ended under it."""
        return False

    def retire(self) -> None:
        """Take no more."""
        self.state.retire(self.holder)
        run_errands(self.state.errands)

    def leave(self) -> None:
        """It has ended."""
        self.consumer._leave()
        self.handler.retired(self)
        self.crew.leave(self)

    def __repr__(self) -> str:
        return repr(self.handler)


def labour_for(handler: Handler) -> Labour:
    """A worker of the kind that a handler's function needs, on the face that it expects."""
    job, host, state = handler._job, handler._queue._bus._host, handler._queue._state
    if job.awaits or job.inline:
        from eventbus.bus import Bus
        from eventbus.working import Task

        return Task(handler, host.face(Bus)._handle(state, False, None), handler._crew.place())
    from eventbus import blocking
    from eventbus.blocking.working import Thread

    return Thread(handler, host.face(blocking.Bus)._handle(state, False, None))


def failed(deliveries: Sequence[Delivery[Any]], whole: Delivery[Any] | Batch[Any], error: BaseException) -> None:
    """The function raised: say which deliveries, never what they carried, and nack what it has not settled itself.

    Who asked gets the error, and it is not said again.
    """
    unheard = [delivery for delivery in deliveries if not answer_failure(delivery, error)]
    if unheard:
        logger.error("%s, failed", _name(unheard), exc_info=error)
    with suppress(SettlementError, ClosedError):
        whole.nack(error=error)


def say_stale(deliveries: Sequence[Delivery[Any]]) -> None:
    """What could not be acked was settled by the function itself, or went elsewhere: say so of that."""
    stale = [delivery for delivery in deliveries if delivery.fate is Fate.STALE]
    if stale:
        logger.warning(
            "%s, went elsewhere while handled: its lease ran out, or its queue was sought or unsubscribed",
            _name(stale),
        )


def _name(deliveries: Sequence[Delivery[Any]]) -> str:
    first, last = deliveries[0], deliveries[-1]
    which = f"delivery {first.offset}" if first is last else f"deliveries {first.offset} to {last.offset}"
    return f"{which} of queue {first._holder.queue.name!r}, attempt {first.attempt}"


def refuse_awaitable(result: Any) -> None:
    """A plain function that returns a coroutine has not done anything yet."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(f"a plain handler returned {result!r}, which nobody awaits; make it an async function")
