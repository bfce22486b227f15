"""The questions that a filter asks about one value of a message: the leaves of its tree.

Each has a plain test for values of certain exact types, which becomes generated code, and a judgment of every other.
"""

from __future__ import annotations

import abc
from decimal import Decimal
from typing import Any, Final

import attrs

from eventbus.filters.paths import Path
from eventbus.filters.source import Source
from eventbus.filters.tree import Filter
from eventbus.filters.values import MISSING, Constant, Truth, compare, compare_constant, contains, data, either
from eventbus.message import Record

# Values of these exact types are plainly alike to a constant of the type, and comparing them runs nobody's code.
_PLAIN: Final[dict[type, tuple[type, ...]]] = {
    int: (int, float, Decimal),
    float: (int, float, Decimal),
    str: (str,),
    bytes: (bytes,),
    bool: (bool,),
    type(None): (type(None), str, int, float, Decimal),  # all can tell that they are not None
}


def _typed(value: Constant) -> object:
    """What equality of constants goes by: 1, 1.0 and True are three."""
    return type(value), value


def _all_typed(values: tuple[Constant, ...]) -> object:
    return tuple(map(_typed, values))


@attrs.frozen(repr=False)
class Leaf(Filter):
    """A question about the value at one path. Of a missing value the answer is unknown, save for `Exists`."""

    path: Path

    @abc.abstractmethod
    def _judge(self, value: Any, record: Record) -> Truth:
        """The answer for a value that was read; the record is for who reads a second one."""

    def _truth(self, record: Record) -> Truth:
        return self._judge(self.path.read(record), record)

    def _code(self, source: Source, wanted: bool) -> str:
        return f"{self._otherwise(source, wanted)}({source.read(self.path)}, record)"

    def _plain_code(self, source: Source, wanted: bool, test: str, types: tuple[type, ...]) -> str:
        """The test of ``v``, the value read, if it has one of the exact types; else the judgment."""
        first, *rest = map(source.bind, types)
        guard = f"type(v := {source.read(self.path)}) is {first}" + "".join(f" or type(v) is {kind}" for kind in rest)
        return self._guarded_code(source, wanted, test, guard)

    def _guarded_code(self, source: Source, wanted: bool, test: str, guard: str) -> str:
        negation = "" if wanted else "not "
        return f"({negation}{test} if {guard} else {self._otherwise(source, wanted)}(v, record))"

    def _otherwise(self, source: Source, wanted: bool) -> str:
        def otherwise(value: Any, record: Record) -> bool:
            return value is not MISSING and self._judge(data(value), record) is wanted

        return source.bind(otherwise)


@attrs.frozen(repr=False)
class Comparison(Leaf):
    """A value against a constant."""

    op: str
    constant: Constant = attrs.field(eq=_typed)

    def _write(self) -> str:
        return f"{self.path!r} {self.op} {self.constant!r}"

    def _judge(self, value: Any, record: Record) -> Truth:
        return compare_constant(value, self.op, self.constant)

    def _code(self, source: Source, wanted: bool) -> str:
        test = f"v {self.op} {source.bind(self.constant)}"
        return self._plain_code(source, wanted, test, _PLAIN[type(self.constant)])


@attrs.frozen(repr=False)
class Relation(Leaf):
    """A value against another of the same message."""

    op: str
    other: Path

    def _write(self) -> str:
        return f"{self.path!r} {self.op} {self.other!r}"

    def _judge(self, value: Any, record: Record) -> Truth:
        return compare(value, self.op, self.other.read(record))

    def _code(self, source: Source, wanted: bool) -> str:
        plain = source.bind(frozenset({str, int, float, bytes, bool}))
        guard = f"type(v := {source.read(self.path)}) is type(w := {source.read(self.other)}) and type(v) in {plain}"
        return self._guarded_code(source, wanted, f"v {self.op} w", guard)


@attrs.frozen(repr=False)
class Within(Leaf):
    """A value against several constants: equal to one of them."""

    constants: tuple[Constant, ...] = attrs.field(eq=_all_typed)

    def _write(self) -> str:
        return f"{self.path!r} in {self.constants!r}"

    def _write_negated(self) -> str:
        return f"{self.path!r} not in {self.constants!r}"

    def _judge(self, value: Any, record: Record) -> Truth:
        if value is MISSING:
            return None  # also with no constants at all
        return either(compare_constant(value, "==", constant) for constant in self.constants)

    def _code(self, source: Source, wanted: bool) -> str:
        kinds = {_PLAIN[type(constant)] for constant in self.constants}
        if len(kinds) != 1:
            return super()._code(source, wanted)
        test = f"(v in {source.bind(frozenset(self.constants))})"
        return self._plain_code(source, wanted, test, kinds.pop())


@attrs.frozen(repr=False)
class Affix(Leaf):
    """Text or bytes against what they start or end with."""

    method: str
    part: str | bytes = attrs.field(eq=_typed)

    def _write(self) -> str:
        return f"{self.path!r}.{self.method}({self.part!r})"

    def _judge(self, value: Any, record: Record) -> Truth:
        kind = type(self.part)  # its own method, not one that a subclass put over it
        return bool(getattr(kind, self.method)(value, self.part)) if isinstance(value, kind) else None

    def _code(self, source: Source, wanted: bool) -> str:
        test = f"v.{self.method}({source.bind(self.part)})"
        return self._plain_code(source, wanted, test, (type(self.part),))


@attrs.frozen(repr=False)
class Contains(Leaf):
    """Text or bytes against a piece of them, or a collection against a member."""

    member: Constant = attrs.field(eq=_typed)

    def _write(self) -> str:
        return f"{self.path!r}.contains({self.member!r})"

    def _judge(self, value: Any, record: Record) -> Truth:
        return contains(value, self.member)

    def _code(self, source: Source, wanted: bool) -> str:
        kind = type(self.member)
        if kind not in (str, bytes):
            return super()._code(source, wanted)
        return self._plain_code(source, wanted, f"({source.bind(self.member)} in v)", (kind,))


@attrs.frozen(repr=False)
class Exists(Leaf):
    """Whether there is a value; None is one. Never unknown."""

    def _write(self) -> str:
        return f"{self.path!r}.exists()"

    def _judge(self, value: Any, record: Record) -> Truth:
        return value is not MISSING

    def _code(self, source: Source, wanted: bool) -> str:
        return f"({source.bind(data)}({source.read(self.path)}) is{' not' if wanted else ''} missing)"
