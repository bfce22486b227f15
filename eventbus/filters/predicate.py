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
from typing import Any, Final, TypeAlias

import attrs

from eventbus.errors import FilterError
from eventbus.filters.language import parse
from eventbus.filters.source import Test
from eventbus.filters.symbols import Field
from eventbus.filters.tree import Filter, compile_filter
from eventbus.message import Message, Record, message_of

Where: TypeAlias = Filter | str | Callable[[Message[Any]], Any] | None

LOG: Final = logging.getLogger("eventbus")


@attrs.define(eq=False)
class Predicate:
    """A filter at work.

    ``source`` is the filter or callable (None: everything matches); two declarations want the same if theirs are equal.
    ``test`` decides a record and never raises an Exception; None where ``source`` is. ``errors`` counts how often a
    callable raised.
    """

    source: Filter | Callable[[Message[Any]], Any] | None
    test: Test | None = attrs.field(init=False, repr=False)
    errors: int = attrs.field(init=False, default=0)
    _counting: threading.Lock = attrs.field(init=False, repr=False, factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.source, Filter):
            self.test = compile_filter(self.source)
        else:
            self.test = None if self.source is None else self._guarded(self.source)

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
    if isinstance(where, str):
        return Predicate(parse(where))
    if where is None or isinstance(where, Filter):
        return Predicate(where)
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
