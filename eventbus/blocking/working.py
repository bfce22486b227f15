"""Handlers at work in threads of their own: plain functions."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from eventbus._faces.working import Labour, failed, refuse_awaitable, say_stale
from eventbus._runtime.crew import start_thread
from eventbus._runtime.threads import this_thread
from eventbus.answering import answer, answer_all
from eventbus.causality import CURRENT
from eventbus.delivery import Batch
from eventbus.errors import ClosedError, FailedError, SettlementError

if TYPE_CHECKING:
    from eventbus.blocking.channels import Queue
    from eventbus.blocking.consuming import Consumer
    from eventbus.handlers import Handler

__all__ = ["Thread"]


class Thread(Labour):
    """One thread that works for a handler."""

    consumer: Consumer[Any]

    def __init__(self, handler: Handler, queue: Queue[Any]) -> None:
        super().__init__(handler, queue.consume())
        self.queue = queue
        self.busy = False

    def start(self) -> None:
        self.consumer._enter(None)
        self.crew.enter(self)
        start_thread(self.work, f"eventbus-{self.state.name}")

    def stop(self, *, at_once: bool) -> None:
        self.retire()
        if at_once:
            self.consumer._leave()

    def stuck(self) -> bool:
        return self.busy

    def work(self) -> None:
        try:
            with suppress(FailedError):
                if self.job.batch is None:
                    self.serve()
                else:
                    self.serve_batches(self.job.batch)
        finally:
            self.leave()

    def serve(self) -> None:
        function, both = self.job.function, self.job.both
        for delivery in self.consumer:
            CURRENT.set(delivery)
            self.busy = True
            try:
                result = function(delivery.body, delivery) if both else function(delivery.body)
                if result is not None:
                    refuse_awaitable(result)
            except BaseException as error:
                self.busy = False
                failed((delivery,), delivery, error)
            else:
                self.busy = False  # before the ack, after which the bus may end and ask
                try:
                    delivery.ack()
                except (SettlementError, ClosedError):
                    say_stale((delivery,))
                if delivery._record[7] is not None:  # it was lent by itself, so it has its record
                    answer(delivery, result)

    def serve_batches(self, limit: int) -> None:
        function, both = self.job.function, self.job.both
        while batch := self.gather(limit):
            CURRENT.set(batch[0])
            self.busy = True
            try:
                result = function(batch.bodies, list(batch)) if both else function(batch.bodies)
                refuse_awaitable(result)
            except BaseException as error:
                self.busy = False
                failed(batch, batch, error)
            else:
                self.busy = False
                try:
                    batch.ack()
                except (SettlementError, ClosedError):
                    say_stale(batch)
                answer_all(batch, result)

    def gather(self, limit: int) -> Batch[Any]:
        """The next batch; an empty one at the end."""
        self.holder.party = this_thread()
        with suppress(ClosedError):
            return Batch(self.queue._gather(self.holder, limit, self.job.within, None))
        return Batch([])
