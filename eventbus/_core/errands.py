"""What has to happen outside the lock: waking, observing, logging, letting go of bodies.

The core decides under the lock and never calls upward; it leaves errands, which the face runs after each call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from eventbus._core.leases import Lease
    from eventbus.message import Death, Record


class Errand(Protocol):
    """Something to do once the lock is released."""

    def run(self) -> None: ...


Errands: TypeAlias = deque[Errand]


def run_errands(errands: Errands) -> None:
    """Do what has gathered, in any thread; several may do it at once, and each errand is done by one of them."""
    while errands:
        try:
            errand = errands.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            errand.run()
        except BaseException:  # an observer lets Ctrl-C through: the others must not wait for ever
            run_errands(errands)
            raise


class Watch(Protocol):
    """Who is told what happens."""

    def published(self, record: Record, queues: Sequence[str]) -> None: ...
    def delivered(self, lease: Lease) -> None: ...
    def settled(self, lease: Lease, outcome: str) -> None: ...
    def dropped(self, record: Record, queue: str) -> None: ...
    def died(self, record: Record, death: Death) -> None: ...


class Tell:
    """Tell every watch."""

    __slots__ = ("event", "facts", "watches")

    def __init__(self, watches: tuple[Watch, ...], event: str, facts: tuple[Any, ...]) -> None:
        self.watches = watches
        self.event = event
        self.facts = facts

    def run(self) -> None:
        for watch in self.watches:
            getattr(watch, self.event)(*self.facts)


Report: TypeAlias = Callable[[str, BaseException | None], None]
"""How the face says what nobody asked about, such as that messages are dropped."""


class Note:
    """Say something."""

    __slots__ = ("report", "text")

    def __init__(self, report: Report, text: str) -> None:
        self.report = report
        self.text = text

    def run(self) -> None:
        self.report(self.text, None)


class LetGo:
    """Drop the last reference to bodies, whose ``__del__`` is user code, outside the lock."""

    __slots__ = ("records",)

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def run(self) -> None:
        """Nothing: to be forgotten is all."""
