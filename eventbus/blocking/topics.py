"""Topics as threads hold them: publishing, subscribing, and reading what they retain."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from eventbus._core.errands import run_errands
from eventbus._faces.topic import TopicFace
from eventbus._runtime.threads import Threads
from eventbus.blocking.channels import Subscription
from eventbus.blocking.waits import Timeout, check_timeout, cross, enter, send_all
from eventbus.causality import current
from eventbus.errors import ClosedError, JournalError
from eventbus.filters.predicate import Where
from eventbus.history import Start
from eventbus.message import NO_HEADERS, Headers, Key, Message
from eventbus.policy import EARLIEST, LATEST, Policy
from eventbus.publishing import Confirmation, Sending
from eventbus.sending import KeyOf, Options, check_bodies

if TYPE_CHECKING:
    from eventbus.replaying import Replay

__all__ = ["Topic"]

T = TypeVar("T")


class Topic(TopicFace[T]):
    """A topic: a message goes to every queue that is bound to it and whose filter matches.

    A publish is all or nothing: it waits until every such queue that waits when full has room, then reaches all.
    A handle; the bus keeps the topic. Any thread may use it.
    """

    def publish(
        self,
        body: T,
        mandatory: bool = False,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
        timeout: Timeout = None,
    ) -> int:
        """Publish a message, and return its offset. ``mandatory``: `UnroutableError` when no queue wants it."""
        offset = 0
        if (
            key is None
            and headers is None
            and id is None
            and delay is None
            and ttl is None
            and priority.__class__ is int
            and self._by_reference
            and not mandatory
        ):
            if self._state.posted is None:
                broadcast, now = self._broadcast, self._now
                rare = self._heir() if self._traced and current() is not None else None
                offset = broadcast(self._state, body, NO_HEADERS, priority, now(), rare)
            elif posted := self._journaling.publish(self._state, body, priority):
                run_errands(self._errands)
                check_timeout(timeout)
                enter(self._threads, Confirmation(self._engine, posted[1:]), timeout)
                return posted[0]
        if not offset:
            check_timeout(timeout)
            options = Options(self._timers, key, headers, priority, id, delay, ttl)
            offset = cross(self._threads, Sending(self._engine, self._parcel_maker(body, options, mandatory)), timeout)
        if self._errands:
            run_errands(self._errands)
        return offset

    def publish_many(
        self,
        bodies: Sequence[T],
        mandatory: bool = False,
        key: KeyOf = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
        timeout: Timeout = None,
    ) -> list[int]:
        """Publish many messages, in order, as room appears; returns their offsets.

        ``key`` may be a function of the body. Each is all or nothing, the whole is not. With ``mandatory``, one that
        no queue wants raises `UnroutableError` before any is published.
        """
        check_timeout(timeout)
        options = Options(self._timers, key, headers, priority, id, delay, ttl)
        return send_all(self._threads, self._entering(check_bodies(bodies), options, mandatory), timeout)

    def subscription(
        self,
        name: str | None = None,
        policy: Policy | None = None,
        *,
        where: Where = None,
        start: Start = LATEST,
    ) -> Subscription[T]:
        """A queue that gets this topic's messages: shared under ``topic/name``, or private without a name.

        ``where`` is a filter, its text or a function of the message; given again and differing, it replaces the first
        and applies to what was not delivered yet. ``start`` is where in what is retained a new one begins.
        """
        subscription: Subscription[T] = self._bus._subscribe(
            None if name is None else f"{self.name}/{name}", [self.name], policy, where, start, self._state.type
        )
        return subscription

    def replay(
        self,
        start: Start = EARLIEST,
        stop: Start | None = None,
        *,
        where: Where = None,
        key: Key = None,
        follow: bool = False,
        timeout: Timeout = None,
    ) -> Generator[Message[T], None, None]:
        """What the topic retains, from ``start`` on, in order; see `Bus.replay`."""
        check_timeout(timeout)
        return read(self._threads, self._bus._replay(self.name, start, stop, where, key, follow), timeout)


def read(threads: Threads, replay: Replay, timeout: Timeout) -> Generator[Message[Any], None, None]:
    """Page through what topics retain, waiting for more if it follows. It ends with the bus."""
    try:
        while True:
            page = replay.page()
            yield from page or ()
            if page is None:
                if replay.ended():
                    return
                threads.until(
                    replay.attempt,
                    replay.archive.leave,
                    timeout=timeout,
                    what=lambda: f"something new in {', '.join(replay.patterns)}",
                )
    except JournalError:
        raise
    except ClosedError:
        return
