"""The bus as async code holds it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import anyio

from eventbus._faces.bus import BusFace, Topics
from eventbus._faces.queue import check_within
from eventbus._runtime.crew import GRACE
from eventbus.channels import Queue, Subscription
from eventbus.errors import JournalError
from eventbus.filters.predicate import Where
from eventbus.history import Start
from eventbus.message import Headers, Key, Message
from eventbus.policy import DEAD_LETTERS, EARLIEST, LATEST, Policy, Retention, check_name
from eventbus.publishing import Confirmation, confirm, cross
from eventbus.topics import Topic, read

if TYPE_CHECKING:
    from eventbus import blocking
    from eventbus._core.posting import Posting
    from eventbus._journal.reader import Stop
    from eventbus.requesting import Asked
    from eventbus.transactions import Transaction

__all__ = ["Bus", "Topics"]

T = TypeVar("T")


class Bus(BusFace):
    """An event bus inside this process: it owns every queue and topic, and gives their messages one order.

    ``journal`` is the path of a file in which everything that has a name survives the process, or a `Journal`.
    ``isolation`` says how far bodies are kept apart; ``codec`` turns them into bytes and back where that is needed,
    JSON by msgspec if it is None; ``clock`` replaces the system's clocks; ``drain`` is how many seconds handlers have
    at the end to empty their queues. ``async with`` starts the handlers, and closes the bus at its end; if an exception
    leaves the block, at once. In memory, declaring, putting and getting work without. Any number of event loops may use
    one bus, each in its own thread, asyncio's and trio's alike.
    """

    _kinds = (Queue, Subscription, Topic)
    _pace = 0

    async def __aenter__(self) -> Bus:
        self._host.open()
        try:
            if self._host.journaling is not None:
                await self._written(self._host.journaling.open())
                self._host.journaling.opened()
            self._host.crew.open(self._ports.here())
        except BaseException:  # a handler cannot start
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            await self._end()

    @property
    def blocking(self) -> blocking.Bus:
        """This bus as threads hold it: the same queues and topics, with calls that wait without an event loop."""
        from eventbus import blocking

        return self._host.face(blocking.Bus)

    # declaring

    @overload
    def queue(self, name: str, policy: Policy | None = None, *, type: type[T]) -> Queue[T]: ...
    @overload
    def queue(self, name: str, policy: Policy | None = None, *, type: UnionType | None = None) -> Queue[Any]: ...
    def queue(self, name: str, policy: Policy | None = None, *, type: Any = None) -> Queue[Any]:
        """Declare a queue, or get the one that is there.

        ``policy`` None means what was declared, or the default; one that differs raises `DeclarationError`. ``type`` is
        the type of its bodies, for type checkers and for the codec.
        """
        queue: Queue[Any] = self._queue(name, policy, type)
        return queue

    @overload
    def topic(
        self,
        name: type[T],
        *,
        type: None = None,
        retain: Retention | None = None,
        durable: bool | None = None,
        dedup: float | None = None,
    ) -> Topic[T]: ...
    @overload
    def topic(
        self,
        name: str,
        *,
        type: type[T],
        retain: Retention | None = None,
        durable: bool | None = None,
        dedup: float | None = None,
    ) -> Topic[T]: ...
    @overload
    def topic(
        self,
        name: str,
        *,
        type: UnionType | None = None,
        retain: Retention | None = None,
        durable: bool | None = None,
        dedup: float | None = None,
    ) -> Topic[Any]: ...
    def topic(
        self,
        name: Any,
        *,
        type: Any = None,
        retain: Retention | None = None,
        durable: bool | None = None,
        dedup: float | None = None,
    ) -> Topic[Any]:
        """Declare a topic, or get the one that is there, by name or by the class of its bodies.

        A class has the topic of its ``__topic__``, or else of its name; ``type=A | B`` is for several classes on one
        topic. ``retain`` is how much of its past it keeps for
        replay: nothing unless a `Retention` says so, or everything in a journal. ``durable``: whether the journal keeps
        it, yes if there is one. ``dedup`` is for how many seconds it knows an ``id`` again: who
        publishes one anew gets the first one's offset. What differs from what was declared raises `DeclarationError`.
        """
        topic: Topic[Any] = self._topic(name, type, retain, dedup, durable)
        return topic

    def subscription(
        self, name: str, topics: Topics, policy: Policy | None = None, *, where: Where = None, start: Start = LATEST
    ) -> Subscription[Any]:
        """A queue that gets the messages of several topics, or of all that match a pattern, also those to come.

        Patterns are as RabbitMQ's: ``*`` stands for one word, ``#`` for any number. See `Topic.subscription`.
        """
        check_name("a subscription", name)
        subscription: Subscription[Any] = self._subscribe(name, self._patterns(topics), policy, where, start, None)
        return subscription

    @property
    def dead_letters(self) -> Queue[Any]:
        """The queue of dead messages, ``dead-letters``."""
        return self.queue(DEAD_LETTERS)

    # publishing, reading and ending

    async def publish(
        self,
        event: Any,
        mandatory: bool = False,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
    ) -> int:
        """Publish an object to the topic of its class; see `Topic.publish`."""
        return await self.topic(type(event)).publish(event, mandatory, key, headers, priority, id, delay, ttl)

    async def request(
        self,
        asked: Asked,
        body: Any,
        *,
        timeout: float | None,  # noqa: ASYNC109  # the contract has it
        mandatory: bool = False,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
    ) -> Any:
        """Ask a queue, or the one subscription of a topic that wants it, and return the answer.

        That is what the handler returns, or a consumer gives to `Delivery.reply`; an error of theirs is raised here.
        A topic of which not exactly one subscription matches raises `UnroutableError`, and so does, if ``mandatory``, a
        queue without a consumer. After ``timeout`` seconds, None for no end, it raises `TimeoutError`; then, or if it
        is cancelled, nobody takes the request any more. It is tried once, and never becomes a dead letter.
        """
        from eventbus.requesting import Asking

        check_within(timeout, "timeout")
        asking = Asking(self, asked, body, mandatory, key, priority, (headers, id, delay, ttl))
        deadline = None if timeout is None else self._ports.here().time() + timeout
        try:
            if not asking.offset:
                asking.offset = await cross(self._ports, asking.crossing, deadline)
            await self._ports.until(asking.request.attempt, asking.request.give_up, deadline=deadline)
        except TimeoutError:
            raise TimeoutError(f"waited {timeout:g} s for {asking.what()}, and it did not come") from None
        finally:
            asking.withdraw()
        return asking.result()

    def transaction(self) -> Transaction:
        """Publishes, puts and acks that take effect together or not at all: ``async with bus.transaction() as tx``."""
        from eventbus.transactions import Transaction

        return Transaction(self)

    def replay(
        self,
        topics: Topics,
        start: Start = EARLIEST,
        stop: Start | None = None,
        *,
        where: Where = None,
        key: Key = None,
        follow: bool = False,
    ) -> AsyncGenerator[Message[Any], None]:
        """What topics retain, in the order of offsets: from ``start`` on, up to but not including ``stop``.

        It ends at the last message that was there at the first step, unless it follows: then it goes on with what
        comes. ``where`` and ``key`` choose. On trio, who leaves one early closes it: `contextlib.aclosing`.
        """
        return read(self._ports, self._replay(topics, start, stop, where, key, follow))

    async def flush(self) -> None:
        """Wait until all that was sent with ``publish_nowait`` and ``put_nowait``, and all acks, are in the journal.

        It raises what failed.
        """
        if self._host.journaling is not None:
            try:
                await self._written(*self._host.journaling.pending())
            except JournalError:
                self._host.journaling.raise_what_failed()
                raise
            self._host.journaling.raise_what_failed()

    async def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement that reads from the journal's file: your own tables, or what the journal keeps.

        It sees what is committed. Without a journal, and for a statement that writes, it raises `JournalError`. To
        close the bus ends it early, with `ClosedError`.
        """
        from anyio import to_thread

        stop: Stop = []
        try:
            return await to_thread.run_sync(self._query, sql, parameters, stop, abandon_on_cancel=True)
        finally:
            stop.append(None)  # who is cancelled does not wait for the thread, which ends soon

    async def join(self) -> None:
        """Wait until every queue that has a consumer is settled; dead-letter queues aside."""
        await self._ports.until(self._engine.join, self._engine.stop_joining)

    async def aclose(self) -> None:
        """End the bus: whoever waits gets `ClosedError`, iterations end, what is out is nobody's. Twice is harmless.

        Before that, if it has handlers, it takes nothing more but what they publish, and lets them empty their queues,
        for at most ``drain`` seconds. Called inside a handler, it does not wait for that one.
        """
        self._require_another_thread_to_close()
        try:
            if self._begins_to_drain():
                with anyio.move_on_after(self._host.drain) as patience:
                    await self._ports.until(self._engine.drained, self._engine.stop_joining)
                self._drained(not patience.cancelled_caught)
        finally:
            await self._end()

    async def _end(self) -> None:
        """Cancel the handlers, release what they hold, and close."""
        if waits := self._ends():
            with anyio.move_on_after(GRACE, shield=True):
                await self._ports.until(self._host.crew.gone, self._engine.stop_joining)
        self._host.crew.finish(waits)
        if self._host.journaling is not None and (closing := self._host.journaling.close()) is not None:
            with anyio.CancelScope(shield=True):
                await self._written(closing)

    async def _written(self, *postings: Posting) -> None:
        await confirm(self._ports, Confirmation(self._engine, postings))
