"""Filters as a tree, and what joins them; the questions at its ends are in `leaves`.

Every kind of filter is one class with three faces: its text (``_write``), its plain evaluation (``_truth``: true,
false or unknown, the slow and obvious way) and its fast one (``_code``: an expression that is true exactly if the
truth is the wanted one). The plain evaluation is the meaning; the fast one falls back to it.

Filters compare by structure. They are canonical enough for that: the constant of a comparison is on the right, and
"and" in "and" is one "and". What is too long or too deep to be read back is refused when it is built.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Any, NoReturn

import attrs

from eventbus.errors import FilterError
from eventbus.filters.paths import DEEPEST
from eventbus.filters.source import Source, Test
from eventbus.filters.values import Truth, both, either, negated
from eventbus.message import Message, Record

LONGEST = 4_096
"""How many characters a filter's text may have."""

NO_TRUTH = (
    "{what} is neither true nor false before it sees a message: join filters with & | ~ and put each comparison in "
    "parentheses, write (a < b) & (b < c) for a < b < c, and .isin(...) or .contains(...) for in"
)


@attrs.frozen(repr=False)
class Filter(abc.ABC):
    """A question about a message: true, false, or unknown, and only true matches.

    Built from `msg` or read by `parse`. Join filters with ``&``, ``|`` and ``~``. Two are equal when they have the same
    structure; ``repr()`` is the text, which `parse` reads back to an equal filter. Immutable and hashable.
    """

    _text: str = attrs.field(init=False, eq=False)
    _test: Test | None = attrs.field(init=False, eq=False, default=None)

    def __attrs_post_init__(self) -> None:
        if self._depth() > DEEPEST:
            raise FilterError(f"a filter nests up to {DEEPEST} deep; this one goes deeper, so give a callable instead")
        text = self._write()
        if len(text) > LONGEST:
            raise FilterError(
                f"a filter's text has up to {LONGEST:,} characters, but this one has {len(text):,}; "
                f"give a callable instead"
            )
        object.__setattr__(self, "_text", text)

    def matches(self, message: Message[Any]) -> bool:
        """Whether the message is wanted. Unknown does not match. Never raises."""
        return compile_filter(self)(message._record)

    def __and__(self, other: Filter) -> Filter:
        return join(And, (self, other)) if isinstance(other, Filter) else NotImplemented

    def __or__(self, other: Filter) -> Filter:
        return join(Or, (self, other)) if isinstance(other, Filter) else NotImplemented

    def __invert__(self) -> Filter:
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise FilterError(NO_TRUTH.format(what=f"the filter {self!r}"))

    def __repr__(self) -> str:
        return self._text

    def _depth(self) -> int:
        return 1

    @abc.abstractmethod
    def _write(self) -> str:
        """The text, in full; the parts of it have theirs already."""

    def _write_negated(self) -> str:
        return f"not {_enclosed(self)}"

    @abc.abstractmethod
    def _truth(self, record: Record) -> Truth:
        """The plain evaluation: what the filter means. Raises nothing."""

    @abc.abstractmethod
    def _code(self, source: Source, wanted: bool) -> str:
        """An expression that is true exactly if the truth is the wanted one; it may raise."""


def compile_filter(filter: Filter) -> Test:
    """The filter as one fast function of a record, made at the first call and kept. It never raises."""
    if filter._test is None:
        source = Source()
        test = source.function(filter._code(source, True), lambda record: filter._truth(record) is True)
        object.__setattr__(filter, "_test", test)
        return test
    return filter._test


@attrs.frozen(repr=False)
class _Joined(Filter):
    """Filters under one connective, at least two."""

    terms: tuple[Filter, ...]

    def _depth(self) -> int:
        return 1 + max(term._depth() for term in self.terms)

    def _joined(self, word: str) -> str:
        return f" {word} ".join(map(_enclosed, self.terms))

    def _tests(self, source: Source, wanted: bool, word: str) -> str:
        return "(" + f" {word} ".join(term._code(source, wanted) for term in self.terms) + ")"


@attrs.frozen(repr=False)
class And(_Joined):
    """All of them."""

    def _write(self) -> str:
        return self._joined("and")

    def _truth(self, record: Record) -> Truth:
        return both(term._truth(record) for term in self.terms)

    def _code(self, source: Source, wanted: bool) -> str:
        return self._tests(source, wanted, "and" if wanted else "or")


@attrs.frozen(repr=False)
class Or(_Joined):
    """Any of them."""

    def _write(self) -> str:
        return self._joined("or")

    def _truth(self, record: Record) -> Truth:
        return either(term._truth(record) for term in self.terms)

    def _code(self, source: Source, wanted: bool) -> str:
        return self._tests(source, wanted, "or" if wanted else "and")


def join(kind: type[And | Or], filters: Iterable[Filter]) -> Filter:
    """The filters under one connective; one of the same kind among them gives its terms."""
    terms: list[Filter] = []
    for filter in filters:
        terms.extend(filter.terms if isinstance(filter, kind) else (filter,))
    return kind(tuple(terms))


@attrs.frozen(repr=False)
class Not(Filter):
    """The opposite; of unknown, unknown."""

    term: Filter

    def _depth(self) -> int:
        return 1 + self.term._depth()

    def _write(self) -> str:
        return self.term._write_negated()

    def _truth(self, record: Record) -> Truth:
        return negated(self.term._truth(record))

    def _code(self, source: Source, wanted: bool) -> str:
        return self.term._code(source, not wanted)


def _enclosed(filter: Filter) -> str:
    return f"({filter!r})" if isinstance(filter, _Joined) else repr(filter)
