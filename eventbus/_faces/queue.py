"""What both faces of a queue have in common: all that does not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from eventbus._core.consumer import Holder
from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.leases import Lease
from eventbus._core.lots import Lot
from eventbus._core.parcels import Parcel
from eventbus._core.queue import QueueState
from eventbus._core.waiting import Line, Waiter
from eventbus._runtime.parking import Ports
from eventbus._runtime.threads import Threads
from eventbus.causality import cause_in, current, heir
from eventbus.delivery import Delivery, mortal_in
from eventbus.errors import DeclarationError, EmptyError
from eventbus.filters.predicate import Where, as_predicate
from eventbus.history import Past, Start, check_start
from eventbus.message import Headers, Key, Message, Rare, message_of
from eventbus.policy import MOST, Overflow
from eventbus.publishing import SLICE, ParcelMaker, Steps, entering, entering_prepared, send_nowait, whole
from eventbus.sending import Options, batch_for, parcel_for_queue

if TYPE_CHECKING:
    from eventbus._core.posting import Posting
    from eventbus._faces.bus import BusFace, Topics
    from eventbus.handlers import Handler, Job
    from eventbus.journaling import Journaling
    from eventbus.redriving import Move
    from eventbus.stats import QueueStats

__all__ = ["QueueFace", "SubscriptionFace"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FOREVER: Final = float("inf")
"""So long one may wait, but nothing be delayed."""


class QueueFace(Generic[T]):
    """A queue as one kind of code holds it."""

    def __init__(self, bus: BusFace, state: QueueState) -> None:
        self._bus = bus
        self._state = state
        self._engine: Engine = state.engine
        self._ports: Ports = bus._ports
        self._threads: Threads = bus._threads
        self._errands = state.errands
        self._now = bus._now
        self._timers = bus._timers
        self._monotonic = bus._timers.monotonic
        self._isolating = bus._isolating
        self._by_reference = bus._isolating.by_reference
        self._journaling: Journaling = bus._host.journaling
        if state.depot is not None:
            with state.lock:
                state.depot.awaken()
            run_errands(self._errands)
        self._swift: Callable[[T, Key, int, float, Rare | None], int] | None = None
        """The short way in, for messages of the common kind."""
        if self._by_reference and state.depot is None:
            self._swift = state.put if state.place is None else state.put_in_lane
        self._alone = (state,) if self._by_reference and state.depot is not None and state.place is None else None
        """The queue by itself, if what is put there mostly goes the short way through the journal."""
        self._receivers = state.receivers(self)
        self._traced: bool = bus._host.traced
        """Whether there are or were handlers, so that what is put may have a cause."""

    @property
    def name(self) -> str:
        """Its name."""
        return self._state.name

    @property
    def policy(self) -> Any:
        """What it promises."""
        return self._state.policy

    # putting

    def put_nowait(
        self,
        body: T,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
    ) -> int:
        """Put a message without waiting, and return its offset; `FullError` if there is no room."""
        options = Options(self._timers, key, headers, priority, id, delay, ttl)
        return send_nowait(self._engine, self._parcel_maker(body, options))

    def _gathered(self, body: T, priority: int, *rest: object) -> tuple[int, Posting] | None:
        """The short way through the journal, if nothing of the rest is asked for; None to go the long way."""
        if self._alone is None or priority.__class__ is not int or any(one is not None for one in rest):
            return None
        return self._journaling.put(self._alone, body, priority)

    def _swift_later(self, body: T, key: Key, priority: int, delay: float) -> int:
        """The short way in for what comes later; 0 to go the long way."""
        if not ((delay.__class__ is float or delay.__class__ is int) and 0 < delay <= MOST):
            return 0
        due = self._monotonic() + delay
        rare = self._heir() if self._traced and current() is not None else None
        return self._state.put_later(body, key, priority, self._now(), due, rare)

    def _swift_many(self, bodies: list[T], priority: int) -> list[int]:
        """The same for many at once: the offsets of those that fit, which may be none."""
        if not self._swift or not bodies or len(bodies) > SLICE or priority.__class__ is not int:
            return []
        rare = self._heir() if self._traced and current() is not None else None
        offsets = self._state.put_many(bodies, priority, self._now(), rare)
        if self._errands:
            run_errands(self._errands)
        return list(offsets)

    def _entering(self, bodies: Sequence[T], options: Options, offsets: list[int]) -> Steps:
        """The steps by which many messages enter, but for those that have entered and have these offsets."""
        queue = self._state
        queue.require_open()

        def maker_of(index: int) -> ParcelMaker:
            return self._parcel_maker(bodies[index], options)

        if queue.policy.overflow is Overflow.FAIL:
            return whole(self._engine, [maker_of(index)() for index in range(len(bodies))])
        if not self._by_reference:
            return entering_prepared(self._engine, len(bodies), maker_of)
        in_slices = queue.lanes is None and options.common
        batch = batch_for(queue.name, [queue], bodies, options) if in_slices else None
        if batch is not None and queue.depot is not None:
            self._journaling.stamp_all(batch, queue.type)
        return entering(self._engine, len(bodies), lambda: batch, maker_of, offsets)

    def _parcel_maker(self, body: T, options: Options) -> Callable[[], Parcel]:
        key = options.key_of(body)
        state = self._state
        prepared = self._isolating.prepare(body, self.name, state.type)
        if state.depot is None:
            return lambda: parcel_for_queue(state, body, prepared, options, key, self._isolating)

        def make() -> Parcel:
            parcel = parcel_for_queue(state, body, prepared, options, key, self._isolating)
            self._journaling.stamp(parcel, body, state.type, options)
            return parcel

        return make

    # getting

    def get_nowait(self) -> Delivery[T]:
        """Take the next message; `EmptyError` if there is none to take."""
        state = self._receiving()
        state.received_from = True
        if state.timed:
            self._timers.look()
        lease: Any = state.take_one(self._receivers)
        run_errands(self._errands)
        if lease is None:
            raise EmptyError(state.name)
        return lease  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries

    def _take_in_turn(self, waiter: Waiter) -> Lease | None:
        if self._state.timed:
            self._timers.look()
        return self._state.take_in_turn(self._receivers, waiter)

    def _take_many(self, holder: Holder, limit: int, waiter: Waiter | None = None) -> Lot | None:
        if self._state.timed:
            self._timers.look()
        return self._state.take_many(holder, limit, waiter)

    def _attempt_many(self, holder: Holder, limit: int, waiter: Waiter) -> Lot | bool:
        """Some deliveries, or whether the holder has ended."""
        return self._take_many(holder, limit, waiter) or holder.closed

    def _give_back(self, lots: list[Lot]) -> None:
        """As if they had never been taken."""
        self._state.unlend(lots)
        lots.clear()
        run_errands(self._errands)

    def _receiving(self) -> QueueState:
        """The queue, for plain gets, after a look at what is due."""
        self._timers.look()
        if self._state.separate:
            why = "gives its messages to one consumer at a time"
            if not self._state.policy.single_active:
                why = "keeps its lanes with their consumers"
            text = f"queue {self.name!r} {why}, so it has no plain get(); use consume()"
            raise DeclarationError(text, name=self.name)
        return self._state

    def _holder(self, prefetch: int, until_empty: bool, exclusive: bool, priority: int) -> Holder:
        """What a new consumer holds its deliveries by."""
        check_count("prefetch", prefetch)
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise TypeError(f"priority takes an integer, but got {priority!r}")
        state = self._state
        state.require_open()
        return Holder(
            state,
            Line() if state.separate else state.getters,
            prefetch=prefetch,
            priority=priority,
            exclusive=exclusive,
            until_empty=until_empty,
            handle=self,
        )

    # handling

    def handle(
        self,
        function: Callable[..., Any],
        *,
        concurrency: int = 1,
        inline: bool = False,
        batch: int | None = None,
        within: float | None = None,
    ) -> Handler:
        """Call a function with each message, from when the bus is entered on; returns a handle that can cancel it.

        It takes the body, or the body and the delivery. When it returns, the message is acked; when it raises, that is
        logged and the message nacked; what it settles itself stands. An async function runs in tasks of the bus, a
        plain one in threads of its own or, ``inline``, in a task, which it then holds up. ``concurrency`` is the number
        of tasks or threads. With ``batch`` it takes lists, of up to so many that are ready or come ``within`` seconds.
        Whatever else it takes raises `TypeError`.
        """
        from eventbus.handlers import job_of

        return self._attend(job_of(function, concurrency, inline, batch, within))

    def on(
        self,
        *bare: object,
        concurrency: int = 1,
        inline: bool = False,
        batch: int | None = None,
        within: float | None = None,
    ) -> Callable[[F], F]:
        """Decorate a function that is to handle the messages; see `handle`. It stays the plain function that it was."""
        from eventbus.handlers import job_of, refuse_bare

        refuse_bare(bare, "@queue.on()")

        def register(function: F) -> F:
            self._attend(job_of(function, concurrency, inline, batch, within))
            return function

        return register

    def _attend(self, job: Job) -> Handler:
        self._state.require_open()
        from eventbus.handlers import Handler

        handler = Handler(self, job)
        self._bus._trace()
        self._bus._host.crew.take_on(handler)
        return handler

    def _heir(self) -> Rare | None:
        """What a message has from its cause."""
        return heir(cause_in(self._engine))

    # looking and managing

    def peek(self, limit: int = 1) -> list[Message[T]]:
        """Up to ``limit`` messages that are ready, in order, without taking them.

        Of a durable queue, those that are in memory: what `stats().lag` counts is not among them.
        """
        check_count("limit", limit)
        self._timers.look()
        messages = [message_of(mortal_in(self._state, record)) for record in self._state.peek(limit)]
        run_errands(self._errands)
        return messages

    def purge(self) -> int:
        """Throw away all that is ready or scheduled, and return how many that were. What is out stays out."""
        with self._state.lock:
            unread = self._state.unread
            count = unread + len(self._state.purge())
        run_errands(self._errands)
        return count

    def cancel(self, offset: int) -> bool:
        """Withdraw a message that is scheduled or ready: whether it did. What is out, or gone, is not withdrawn.

        Of a durable queue, also one that is on disk only; `JournalError` if the disk cannot be read.
        """
        found = self._state.cancel(offset) is not None
        if not found and self._journaling is not None:
            found = self._journaling.cancel(self._state, offset)
        run_errands(self._errands)
        return found

    def _redriving(self, where: Where, to: str | QueueFace[Any] | None, limit: int | None) -> Iterator[Move]:
        from eventbus.redriving import redriving

        if limit is not None:
            check_count("limit", limit)
        if isinstance(to, QueueFace) and to._engine is not self._engine:
            raise DeclarationError(f"{to!r} is of another bus; put its messages there yourself", name=to.name)
        if to is not None and not isinstance(to, str | QueueFace):
            raise TypeError(f"to takes a queue, its name or None, but got {to!r}")
        name = to.name if isinstance(to, QueueFace) else to
        target = None if name is None else self._engine.queues.get(name)
        if name is not None and target is None:
            raise DeclarationError(f"there is no queue {name!r} to put messages into; declare it first", name=name)
        predicate = as_predicate(where)
        self._timers.look()
        return redriving(self._state, target, predicate, limit, self._now(), self._isolating, self._journaling)

    def pause(self) -> None:
        """Deliver nothing until `resume`; puts go on."""
        self._state.pause()
        run_errands(self._errands)

    def resume(self) -> None:
        """Deliver again."""
        self._state.resume()
        run_errands(self._errands)

    def stats(self) -> QueueStats:
        """What it counts, as a frozen snapshot."""
        from eventbus._faces.counting import queue_stats

        self._state.require_open()
        self._timers.look()
        return queue_stats(self._state, self._now())

    def bind(self, topics: Topics, *, where: Where = None) -> None:
        """Receive from topics too, named or by pattern; a topic that is bound already gets the new filter."""
        self._engine.wiring.bind(self._state, self._bus._patterns(topics), as_predicate(where))
        run_errands(self._errands)

    def unbind(self, topics: Topics) -> None:
        """Receive from these topics or patterns no longer; what has arrived stays."""
        self._engine.wiring.unbind(self._state, self._bus._patterns(topics))
        run_errands(self._errands)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class SubscriptionFace(QueueFace[T]):
    """A subscription as one kind of code holds it."""

    def _seek(self, start: Start) -> Posting | None:
        """Begin to seek: what to wait for, if its past is in the journal."""
        since = check_start(start)
        state, engine = self._state, self._engine
        patterns = [binding.pattern for binding in engine.wiring.bindings_of(state)]
        self._timers.look()
        past = Past(engine, patterns, since, self._journaling)
        with engine.lock:
            number = state.restart()
            sought = past.begin(state, number, again=True)
        past.load(state, number, self._isolating, self._now)
        run_errands(self._errands)
        return sought

    def _remove(self) -> None:
        self._engine.remove(self._state)
        run_errands(self._errands)


def check_count(name: str, value: object) -> None:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number of at least 1, but got {value!r}")
    if value < 1:
        raise ValueError(f"{name} takes a whole number of at least 1, but got {value!r}")


def check_within(within: object, name: str = "within") -> None:
    """Seconds, or nothing."""
    if within is None:
        return
    if isinstance(within, bool) or not isinstance(within, int | float):
        raise TypeError(f"{name} takes seconds of at least 0, or None, but got {within!r}")
    if not (0 <= within <= MOST or within == FOREVER):
        raise ValueError(f"{name} takes seconds of at least 0, or None, but got {within!r}")
