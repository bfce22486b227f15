"""What ``where=`` takes, made ready for the bus: a filter, its text, a callable, or nothing.

A callable is the user's code on the publisher's way, so its failures may not become the publisher's: one that raises
does not match, is counted and is logged, the first time and then ever more rarely, so that a broken callable on a busy
topic does not bury the log.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eventbus.errors import FilterError
from eventbus.message import Message, Record, message_of

if TYPE_CHECKING:
    from eventbus.filters.source import Test
    from eventbus.filters.tree import Filter

Where: TypeAlias = "Filter | str | Callable[[Message[Any]], Any] | None"
"""A filter, its text, a function of a message, or None for all."""

LOG: Final = logging.getLogger("eventbus")


class Predicate:
    """A filter at work.

    ``source`` is the filter or callable (None: everything matches); two declarations want the same if theirs are equal.
    ``test`` decides a record and never raises an Exception; None where ``source`` is. ``errors`` counts how often a
    callable raised.
    """

    __slots__ = ("_counting", "errors", "source", "test")

    def __init__(self, source: Filter | Callable[[Message[Any]], Any] | None, test: Test | None = None) -> None:
        self.source = source
        self.test = self._guarded(source) if test is None and callable(source) else test
        self.errors = 0
        self._counting = threading.Lock()

    def _guarded(self, function: Callable[[Message[Any]], Any]) -> Test:
        def test(record: Record) -> bool:
            try:
                return bool(function(message_of(record)))
            except Exception:
                self._failed()
                return False

        return test

    def _failed(self) -> None:
        with self._counting:
            self.errors += 1
            count = self.errors
        if count & (count - 1) == 0:
            LOG.exception(
                "the filter %r raised, so the message did not match; this is its error number %d, "
                "and numbers 1, 2, 4, 8, 16 and so on are logged",
                self.source,
                count,
            )


def as_predicate(where: Where) -> Predicate:
    """What the user gave as ``where=``, ready to test records; FilterError for what is no filter."""
    if where is None:
        return Predicate(None)
    from eventbus.filters.language import parse
    from eventbus.filters.symbols import Field
    from eventbus.filters.tree import Filter, compile_filter

    filter = parse(where) if isinstance(where, str) else where
    if isinstance(filter, Filter):
        return Predicate(filter, compile_filter(filter))
    where = filter
    if isinstance(where, Field):
        raise FilterError(f"where= got the field {where!r}, which is no filter; compare it, as in {where!r} == True")
    if not callable(where):
        raise FilterError(
            f"where= takes a filter, its text, a callable that takes a message, or None, "
            f"but got a {type(where).__name__}: {where!r}"
        )
    if _is_async(where) or _is_async(getattr(where, "__call__", None)):  # noqa: B004  # the method, not whether
        raise FilterError(f"where= takes a plain function, but {where!r} is async; a filter decides at once")
    return Predicate(where)


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
