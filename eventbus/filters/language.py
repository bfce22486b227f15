"""The text form of filters: ``body.total >= 100 and headers['region'] in ('EU', 'UK')``.

It is a subset of Python's expressions, so Python's own parser reads it, into a tree that is walked here and never run.
That parser was not made for strangers' text: it may run out of memory or recursion, and prints warnings. So the text is
first matched, token by token, against the few tokens that a filter has; what gets to the parser is short, nests
little, and holds no escape or number that it would warn of. What the walk does not know, it refuses.

The walk builds nothing itself: it asks fields, as a program with `msg` does.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, ParamSpec, TypeVar

from eventbus.errors import FilterError
from eventbus.filters.paths import DEEPEST, METHODS
from eventbus.filters.symbols import Field, msg
from eventbus.filters.tree import LONGEST, And, Filter, Or, join
from eventbus.filters.values import Constant, constant

P = ParamSpec("P")
R = TypeVar("R")

ALLOWED: Final = (
    f"a filter compares fields (body.total, headers['region'], key, ...) with constants or fields by == != < <= > >= "
    f"in, not in, is None, is not None, or asks .{'(), .'.join(METHODS)}(), and joins that by and, or, not and (...)"
)

_ESCAPE: Final = r"""\\(?:[\\'"abfnrtv]|x[0-9a-fA-F]{2})"""
_WIDE_ESCAPE: Final = rf"(?:{_ESCAPE}|\\u[0-9a-fA-F]{{4}}|\\U[0-9a-fA-F]{{8}})"
_PLAIN: Final = r"\\\x00-\x1f\x7f\ud800-\udfff"
_TOKEN: Final = re.compile(
    rf"""
      [ \t\r\n]++
    | (?: '(?:[^'{_PLAIN}]|{_WIDE_ESCAPE})*+' | "(?:[^"{_PLAIN}]|{_WIDE_ESCAPE})*+"
        | [bB]'(?:[^'{_PLAIN}]|{_ESCAPE})*+' | [bB]"(?:[^"{_PLAIN}]|{_ESCAPE})*+" ) (?!['"])
    | -?(?:[0-9]++(?:_[0-9]++)*+(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+ (?![\w.])
    | [^\W\d]\w*+ (?!['"])
    | [=!<>]=|[<>.,]
    | (?P<opening>[(\[]) | (?P<closing>[)\]])
    """,
    re.VERBOSE,
)
_BLANK: Final = str.maketrans("\t\r\n", "   ")

_OPERATORS: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}


def parse(text: str) -> Filter:
    """The filter that the text says; `repr` of a filter is such a text.

    Raises FilterError, with the text and the column (from 1) of what was not understood, and with no other error
    whatever the text is.
    """
    if not isinstance(text, str):
        raise FilterError(f"a filter's text is a str, but got a {type(text).__name__}")
    if len(text) > LONGEST:
        raise FilterError(f"a filter's text has up to {LONGEST:,} characters, but got {len(text):,}", text=text)
    _check_tokens(text)
    return _Reading(text).whole()


def _check_tokens(text: str) -> None:
    """Refuse what no filter has in it, before Python's parser sees it."""
    place = depth = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise _refusal(text, place, text[place : place + 20])
        depth += (token["opening"] is not None) - (token["closing"] is not None)
        if depth > DEEPEST:
            raise _refusal(text, place, token[0], f"a filter nests up to {DEEPEST} deep")
        place = token.end()


def _refusal(text: str, place: int, shown: str, why: str = ALLOWED) -> FilterError:
    message = f"cannot understand {_short(shown)!r} at column {place + 1} of the filter {_short(text)!r}: {why}"
    return FilterError(message, text=text, position=place + 1)


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "..."


def _is_msg(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "msg"


class _Reading:
    """One text on its way to a filter. Its line breaks stand between tokens alone, so it is read as one line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._line = text.translate(_BLANK).rstrip()
        self._indent = len(self._line) - len(self._line.lstrip())

    def whole(self) -> Filter:
        """The filter that the whole text is."""
        line = self._line[self._indent :]
        try:
            tree = ast.parse(line, mode="eval")
        except SyntaxError as error:
            place = min(max((error.offset or 1) - 1, 0), len(line))
            raise _refusal(self._text, self._indent + place, line[place : place + 20]) from None
        except (ValueError, OverflowError, MemoryError, RecursionError):
            raise _refusal(self._text, self._indent, line[:20]) from None
        return self._filter(tree.body, DEEPEST)

    def _filter(self, node: ast.expr, room: int) -> Filter:
        if not room:
            raise self._refused(node, f"a filter nests up to {DEEPEST} deep")
        match node:
            case ast.BoolOp(op, values):
                kind = And if isinstance(op, ast.And) else Or
                return self._built(node, join, kind, [self._filter(value, room - 1) for value in values])
            case ast.UnaryOp(ast.Not(), operand):
                return self._built(node, Filter.__invert__, self._filter(operand, room - 1))
            case ast.Compare():
                return self._comparisons(node)
            case ast.Call(ast.Attribute(value, method), arguments, []) if method in METHODS:
                return self._asked(node, self._field(value), method, [self._constants(each) for each in arguments])
            case ast.Name() | ast.Attribute() | ast.Subscript():
                field = self._field(node)
                raise self._refused(node, f"a field alone is no filter; compare it, as in {field!r} == True")
        raise self._refused(node)

    def _asked(self, node: ast.Call, field: Field, method: str, constants: list[Any]) -> Filter:
        wanted = {"isin": len(constants), "exists": 0}.get(method, 1)
        if len(constants) != wanted:
            raise self._refused(node, f"{method}() takes {wanted or 'no'} constant, but got {len(constants)}")
        ask: Callable[..., Filter] = getattr(field, method)
        return self._built(node, ask, *constants)

    def _comparisons(self, node: ast.Compare) -> Filter:
        sides = pairwise([node.left, *node.comparators])
        filters = [self._comparison(node, *pair, op) for pair, op in zip(sides, node.ops, strict=True)]
        return filters[0] if len(filters) == 1 else self._built(node, join, And, filters)

    def _comparison(self, node: ast.Compare, left: ast.expr, right: ast.expr, op: ast.cmpop) -> Filter:
        match op:
            case ast.In():
                return self._membership(node, left, right)
            case ast.NotIn():
                return self._built(node, Filter.__invert__, self._membership(node, left, right))
            case ast.Is() | ast.IsNot() if not (isinstance(right, ast.Constant) and right.value is None):
                raise self._refused(right, "'is' asks for None alone; write ==")
        one, other = self._operand(left), self._operand(right)
        if not (isinstance(one, Field) or isinstance(other, Field)):
            raise self._refused(node, "one side of a comparison must be a field")
        compare: Callable[[Any, Any], Filter] = _OPERATORS[type(op)]
        return self._built(node, compare, one, other)

    def _membership(self, node: ast.Compare, left: ast.expr, right: ast.expr) -> Filter:
        if isinstance(right, ast.Tuple | ast.List):
            return self._built(node, Field.isin, self._field(left), self._constants(right))
        return self._built(node, Field.contains, self._field(right), self._constant(left))

    def _operand(self, node: ast.expr) -> Field | Constant:
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            return self._field(node)
        return self._constant(node)

    def _field(self, node: ast.expr) -> Field:
        steps: list[ast.Attribute | ast.Subscript] = []
        while isinstance(node, ast.Subscript) or (isinstance(node, ast.Attribute) and not _is_msg(node.value)):
            steps.append(node)
            node = node.value
        field = self._root(node)
        for step in reversed(steps):
            field = self._step(field, step)
        return field

    def _root(self, node: ast.expr) -> Field:
        match node:
            case ast.Name(name) | ast.Attribute(_, name):
                return self._built(node, msg.__getattr__, name)  # not getattr(), which finds msg's own attributes too
        raise self._refused(node)

    def _step(self, field: Field, node: ast.Attribute | ast.Subscript) -> Field:
        if isinstance(node, ast.Subscript):
            key: Any = self._constant(node.slice)
            return self._built(node, Field.__getitem__, field, key)
        if node.attr in METHODS:
            raise self._refused(node, f"{node.attr} is a method; for a field of that name write [{node.attr!r}]")
        return self._built(node, Field.__getattr__, field, node.attr)

    def _constants(self, node: ast.expr) -> Constant | tuple[Constant, ...]:
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(map(self._constant, node.elts))
        return self._constant(node)

    def _constant(self, node: ast.expr) -> Constant:
        match node:
            case ast.Constant(value):
                return self._built(node, constant, value)
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)) if not isinstance(value, bool):
                return self._built(node, constant, -value)
        raise self._refused(node, f"a constant must stand here; {ALLOWED}")

    def _built(self, node: ast.expr, build: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """What the builder makes of them; what it refuses is refused with its place in the text."""
        try:
            return build(*arguments, **named)
        except FilterError as error:
            raise self._refused(node, str(error)) from None

    def _refused(self, node: ast.expr, why: str = ALLOWED) -> FilterError:
        start, end = (self._column(offset) for offset in (node.col_offset, node.end_col_offset))
        return _refusal(self._text, start, self._text[start:end], why)

    def _column(self, offset: int | None) -> int:
        """The parser counts bytes of the line that it got."""
        line = self._line[self._indent :].encode()
        return self._indent + len(line[:offset].decode())
