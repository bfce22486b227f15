"""Handlers: functions that are called with the messages of a queue, and how they are registered.

What a function takes is read from its signature once, when it is registered: one required positional parameter gets
the body, two get the body and the delivery.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from eventbus.errors import DeclarationError
from eventbus.filters.predicate import Where
from eventbus.history import Start
from eventbus.policy import LATEST, Policy

if TYPE_CHECKING:
    from eventbus._faces.bus import BusFace
    from eventbus._faces.queue import QueueFace
    from eventbus._faces.working import Labour

__all__ = ["Handler", "Job", "Router", "job_of", "name_of"]

F = TypeVar("F", bound=Callable[..., Any])

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@attrs.frozen(eq=False)
class Job:
    """A function, and how it is to be called. ``both``: with the body and the delivery, not the body alone."""

    function: Callable[..., Any]
    both: bool
    awaits: bool
    concurrency: int = 1
    inline: bool = False
    batch: int | None = None
    within: float | None = None


def job_of(function: Any, concurrency: int, inline: bool, batch: int | None, within: float | None) -> Job:
    """Read a function's signature, and refuse what cannot handle messages."""
    from eventbus._faces.queue import check_count, check_within

    if not callable(function):
        raise TypeError(f"a handler is a function, but got {function!r}")
    check_count("concurrency", concurrency)
    if not isinstance(inline, bool):
        raise TypeError(f"inline takes True or False, but got {inline!r}")
    if batch is not None:
        check_count("batch", batch)
    check_within(within)
    if within is not None and batch is None:
        raise TypeError("within= says how long a batch gathers, so it needs batch=")
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        raise TypeError(
            f"handler {name_of(function)} is a generator, which does nothing when it is called; use no yield"
        )
    awaits = _is(inspect.iscoroutinefunction, function)
    return Job(function, _takes_both(function), awaits, concurrency, inline, batch, within)


def _is(what: Callable[[Any], bool], function: Any) -> bool:
    """Whether a function, or the method behind a callable object, is of this kind."""
    return what(function) or what(getattr(function, "__call__", None))  # noqa: B004  # not whether there is one


def _takes_both(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise TypeError(f"handler {name_of(function)} does not say what it takes; wrap it in a function") from error
    required = [p for p in parameters if p.default is p.empty]
    count = sum(p.kind in POSITIONAL for p in required)
    named = [p.name for p in required if p.kind is p.KEYWORD_ONLY]
    if count not in (1, 2) or named:
        wanted = "one required positional parameter, the body, or two, the body and the delivery"
        got = f"{count}" + (f" and the keyword {named[0]!r}" if named else "")
        raise TypeError(f"handler {name_of(function)} must take {wanted}, but takes {got}")
    return count == 2


def name_of(function: Any) -> str:
    """The name of a function, for people."""
    return getattr(function, "__qualname__", None) or repr(function)


def default_name(function: Any) -> str:
    """What a subscription is called whose handler has no name: the function's module and qualified name."""
    name = getattr(function, "__qualname__", None)
    if name is None:
        raise DeclarationError(
            f"{function!r} has no name of its own to call its subscription by; give one: .on('name')", name=""
        )
    return f"{function.__module__}.{name}"


def refuse_bare(value: object, usage: str) -> None:
    """`.on` was used without parentheses, so it got the function."""
    if isinstance(value, tuple):  # of what `queue.on` takes by position, which is nothing
        value = value[0] if value else None
    if callable(value) and not isinstance(value, type):
        raise TypeError(f"{usage} needs parentheses: it takes options and returns the decorator, but got {value!r}")


class Handler:
    """A function that handles a queue's messages, as `queue.handle()` returns it.

    It works from when the bus is entered until it is cancelled, its queue is gone, or the bus ends.
    """

    def __init__(self, queue: QueueFace[Any], job: Job) -> None:
        self._queue = queue
        self._job = job
        self._crew = queue._bus._host.crew
        self._workers: list[Labour] = []
        self._over = False

    @property
    def queue(self) -> Any:
        """The queue whose messages it handles."""
        return self._queue

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        return self._job.function

    def cancel(self) -> None:
        """Take no more messages, and stop what runs. Harmless when done twice.

        An async function is cancelled where it waits, and its message released. A plain one on its thread cannot be
        stopped, so it finishes its message and settles it.
        """
        self.stop(at_once=False)

    def start(self) -> None:
        """Begin to work. For the bus."""
        for _ in range(self._job.concurrency):
            self.hire()

    def hire(self) -> None:
        """Begin to work with one worker more. For the bus."""
        from eventbus._faces.working import labour_for

        state = self._queue._state
        if state.closed or self._over:
            return
        worker = labour_for(self)
        worker.start()
        with state.lock:
            self._workers.append(worker)
            late = self._over
        if late:
            worker.stop(at_once=False)

    def retired(self, worker: Labour) -> None:
        """A worker has ended. For the bus."""
        with self._queue._state.lock:
            if worker in self._workers:
                self._workers.remove(worker)
            idle = not self._workers
        if idle:
            self._crew.let_go(self)

    def stop(self, *, at_once: bool) -> None:
        """End the work; `at_once` takes their deliveries even from threads. For the bus."""
        with self._queue._state.lock:
            self._over = True
            workers = list(self._workers)
        if not workers:
            self._crew.let_go(self)
        for worker in workers:
            worker.stop(at_once=at_once)

    def __repr__(self) -> str:
        return f"<Handler {name_of(self._job.function)} of queue {self._queue.name!r}>"


class Router:
    """Handlers collected before there is a bus: `on` is that of a bus, and `bus.include(router)` registers them all."""

    def __init__(self) -> None:
        self._entries: list[tuple[str | type, Any]] = []

    def on(
        self,
        topic_or_class: str | type,
        name: str | None = None,
        policy: Policy | None = None,
        *,
        where: Where = None,
        start: Start = LATEST,
        concurrency: int = 1,
        inline: bool = False,
        batch: int | None = None,
        within: float | None = None,
    ) -> Callable[[F], F]:
        """Decorate a function that is to handle the messages of a topic; see `Bus.on`."""
        refuse_bare(topic_or_class, "@router.on(topic)")

        def register(function: F) -> F:
            job = job_of(function, concurrency, inline, batch, within)
            self._entries.append((topic_or_class, (name, policy, where, start, job)))
            return function

        return register

    def _register(self, bus: BusFace) -> None:
        handlers: list[Handler] = []
        try:
            for topic, attendance in self._entries:
                handlers.append(bus._topic(topic, None, None, None)._attend(*attendance))  # one may fail
        except BaseException:
            for handler in handlers:
                handler.cancel()
            raise

    def __repr__(self) -> str:
        return f"<Router with {len(self._entries)} handlers>"
