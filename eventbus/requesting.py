"""Requests: whom one goes to, and what becomes of it when nobody waits any more. The faces do the waiting."""

from __future__ import annotations

from contextlib import suppress
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eventbus._core.errands import run_errands
from eventbus._core.parcels import Parcel
from eventbus._core.queue import QueueState
from eventbus._core.requests import Request
from eventbus._core.topic import TopicState
from eventbus.causality import cause_in, heir
from eventbus.errors import ClosedError, DeclarationError, UnroutableError
from eventbus.message import Key
from eventbus.publishing import Sending
from eventbus.sending import Options, parcel_for_queue, parcel_for_topic

if TYPE_CHECKING:
    from eventbus._faces.bus import BusFace
    from eventbus._faces.queue import QueueFace
    from eventbus._faces.topic import TopicFace

__all__ = ["Asked", "Asking"]

NOTHING: Final = (None, None, None, None)
"""Headers, id, delay and ttl that were not given."""

Asked: TypeAlias = "QueueFace[Any] | TopicFace[Any] | str | type"
"""What is asked: a queue, a topic, the name of either, or a topic's class."""


class Asking:
    """One request on its way. `offset` is its own once it has entered; until then there is a `crossing` to make."""

    crossing: Sending

    def __init__(
        self, bus: BusFace, asked: Asked, body: Any, mandatory: bool, key: Key, priority: int, rest: tuple[Any, ...]
    ) -> None:
        self.engine = engine = bus._engine
        self.request = Request(engine)
        state = _state_of(bus, asked)
        self.name = state.name
        self.offset = 0
        if (
            isinstance(state, QueueState)
            and state.place is None
            and bus._isolating.by_reference
            and rest == NOTHING
            and key.__class__ in (str, NoneType)
            and priority.__class__ is int
        ):
            self.queue = state
            if mandatory:
                self._require_consumer()
            rare = heir(cause_in(engine), request=self.request)
            self.offset = state.put(body, key, priority, bus._now(), rare)
        if not self.offset:
            headers, id, delay, ttl = rest
            options = Options(bus._timers, key, headers, priority, id, delay, ttl, self.request)
            parcel = _parcel(bus, state, body, options)
            (self.queue,) = parcel.queues()
            if mandatory:
                self._require_consumer()
            self.crossing = Sending(engine, lambda: parcel)

    def _require_consumer(self) -> None:
        if not self.queue.holders:
            raise UnroutableError(
                self.name,
                f"queue {self.queue.name!r} has no consumer and no running handler, and the request was mandatory; "
                f"start one before asking, or ask without mandatory=True and wait for one to come",
            )

    def result(self) -> Any:
        """The answer, or the error that is the answer."""
        error = self.request.error
        if error is not None:
            raise error
        return self.request.value

    def withdraw(self) -> None:
        """Nobody waits any more: if nobody has taken it, nobody is to."""
        if self.offset and not self.request.done:
            with suppress(ClosedError):
                self.queue.cancel(self.offset)
            run_errands(self.engine.errands)

    def what(self) -> str:
        """What is waited for."""
        return f"the answer of {self.name!r}"


def _state_of(bus: BusFace, asked: Any) -> QueueState | TopicState:
    engine = bus._engine
    state = getattr(asked, "_state", None)
    if state is not None and getattr(asked, "_engine", None) is engine:
        return state  # type: ignore[no-any-return]  # of a queue or a topic, the only handles that have one
    if isinstance(asked, str):
        state = engine.queues.get(asked) or engine.wiring.topics.get(asked)
        if state is None:
            raise DeclarationError(f"there is no queue and no topic {asked!r} to ask; declare it first", name=asked)
        return state
    if isinstance(asked, type):
        return bus._topic(asked, None, None, None)._state  # type: ignore[no-any-return]
    if isinstance(state, QueueState | TopicState):
        raise DeclarationError(f"{asked!r} is of another bus; ask that bus", name=state.name)
    raise TypeError(f"a queue, a topic, the name of either or a topic's class is asked, but got {asked!r}")


def _parcel(bus: BusFace, state: QueueState | TopicState, body: Any, options: Options) -> Parcel:
    key = options.key_of(body)
    prepared = bus._isolating.prepare(body, state.name, state.type)
    if isinstance(state, QueueState):
        return parcel_for_queue(state, body, prepared, options, key, bus._isolating)
    routes = bus._engine.wiring.routes(state)
    parcel = parcel_for_topic(state, routes, body, prepared, options, key, bus._isolating, bus._engine.watched)
    matched = [queue.name for queue in parcel.queues()]
    if len(matched) != 1:
        raise UnroutableError(
            state.name,
            f"a request goes to exactly one subscription, but of topic {state.name!r} these want it: {matched}",
        )
    parcel.topic = None  # sent as to the queue itself: a topic retains no requests
    return parcel
