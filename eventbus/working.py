"""Handlers at work in tasks of an event loop: async functions, and plain ones that run in place."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from eventbus._core.errands import run_errands
from eventbus._faces.working import Labour, failed, refuse_awaitable, say_stale
from eventbus._runtime.parking import Port
from eventbus._runtime.threads import in_main_thread
from eventbus.answering import answer, answer_all
from eventbus.causality import CURRENT
from eventbus.delivery import Batch
from eventbus.errors import ClosedError, FailedError, SettlementError
from eventbus.publishing import STRIDE

if TYPE_CHECKING:
    from eventbus.channels import Queue
    from eventbus.consuming import Consumer
    from eventbus.handlers import Handler

__all__ = ["Task"]


class Task(Labour):
    """One task that works for a handler."""

    consumer: Consumer[Any]

    def __init__(self, handler: Handler, queue: Queue[Any], port: Port) -> None:
        super().__init__(handler, queue.consume())
        self.function = self.job.function if self.job.awaits else in_place(self.job.function)
        self.queue = queue
        self.port = port
        self.scope: anyio.CancelScope | None = None
        """Around its work; made in its loop."""

    def start(self) -> None:
        self.consumer._enter_at(self.port)
        self.crew.enter(self)
        self.port.call(partial(self.port.spawn, self.work))

    def stop(self, *, at_once: bool) -> None:
        self.retire()
        with suppress(RuntimeError):  # its loop has ended, and so has it
            self.port.call(self.cancel)

    def lost(self) -> bool:
        return self.port.ended()

    def cancel(self) -> None:
        if self.scope is not None:
            self.scope.cancel()

    async def work(self) -> None:
        try:
            with anyio.CancelScope() as self.scope, suppress(StopAsyncIteration, FailedError):
                await (self.serve() if self.job.batch is None else self.serve_batches(self.job.batch))
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()) and self.port.replaces:
                self.handler.hire()  # somebody cancelled this very task: another takes its place
            raise
        finally:
            self.leave()

    async def serve(self) -> None:
        """As `async for delivery in consumer`, without a coroutine for each message that is there already."""
        function, both = self.function, self.job.both
        take, holder, errands = self.state.take, self.holder, self.state.errands
        set_current = CURRENT.set
        holder.party = self.port.party()
        pace = 0
        while True:
            pace += 1
            if pace > STRIDE:
                pace = 0
                await self.queue._ports.checkpoint()
            delivery: Any = take(holder)
            if delivery is None:
                delivery = await self.consumer._wait()
            if errands:
                run_errands(errands)
            set_current(delivery)
            try:
                result = await (function(delivery.body, delivery) if both else function(delivery.body))
            except BaseException as error:
                if not self.contains(error):
                    raise
                failed((delivery,), delivery, error)
                continue
            try:
                delivery.ack()
            except (SettlementError, ClosedError):
                say_stale((delivery,))
            if delivery._record[7] is not None:  # it was lent by itself, so it has its record
                answer(delivery, result)

    async def serve_batches(self, limit: int) -> None:
        function, both = self.function, self.job.both
        while batch := await self.gather(limit):
            CURRENT.set(batch[0])
            try:
                result = await (function(batch.bodies, list(batch)) if both else function(batch.bodies))
            except BaseException as error:
                if not self.contains(error):
                    raise
                failed(batch, batch, error)
                continue
            try:
                batch.ack()
            except (SettlementError, ClosedError):
                say_stale(batch)
            answer_all(batch, result)

    async def gather(self, limit: int) -> Batch[Any]:
        """The next batch; an empty one at the end."""
        self.holder.party = self.port.party()
        with suppress(ClosedError):
            return Batch(await self.queue._gather(self.holder, limit, self.job.within))
        return Batch([])

    def contains(self, error: BaseException) -> bool:
        """Whether that is the handler's own failure, and not the end of this task or of the program."""
        if isinstance(error, GeneratorExit):
            return False
        if isinstance(error, KeyboardInterrupt):
            return not in_main_thread()
        return not isinstance(error, anyio.get_cancelled_exc_class()) or not self.port.cancelling()


def in_place(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A plain function as an async one that does not wait."""

    async def call(*given: Any) -> Any:
        result = function(*given)
        refuse_awaitable(result)
        return result

    return call
