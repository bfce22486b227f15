"""`msg`, the message that is not there yet: its fields build filters, and nothing else does.

``msg.body.total >= 100`` is not a comparison but the filter that will make it. Python calls a field's methods in more
places than one thinks of (``in`` asks ``==`` and then for a truth value, a chain of comparisons too), and each of
those would give an answer that is a lie, so each raises and says what to write instead.

`parse` goes through the same fields, so text and expressions cannot come to differ.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NoReturn

from eventbus.errors import FilterError
from eventbus.filters.leaves import Affix, Comparison, Contains, Exists, Relation, Within
from eventbus.filters.paths import METHODS, ROOTS, Path, in_words
from eventbus.filters.tree import NO_TRUTH, Filter
from eventbus.filters.values import Constant, constant


class NoSuchFieldError(FilterError, AttributeError):
    """A name that a filter cannot read. An AttributeError too, for all that probes objects with ``hasattr``."""


class Field:
    """A value of a message to come. Compare it, or ask one of its methods, and it gives a filter.

    ``field.name`` and ``field["name"]`` go on to an item of a mapping or to an attribute, ``field[0]`` to an element of
    a list or tuple. The brackets also reach what the dot cannot: names such as "contains" or "x-region", and items
    (never attributes) whose name begins with "_".
    """

    __slots__ = ("_path",)
    _path: Path
    __hash__: ClassVar[None]  # type: ignore[assignment]  # its == is no equality, so it can be no key

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_"):
            raise NoSuchFieldError(
                f"{self!r} gives no way to {name!r}: names that begin with '_' are not read from a body; "
                f"an item of a mapping may have one, as in {self!r}[{name!r}]"
            )
        return self[name]

    def __getitem__(self, key: str | int) -> Field:
        return Field(self._path.then(key))

    def __eq__(self, other: object) -> Filter:  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: object) -> Filter:  # type: ignore[override]
        return self._compared("!=", other)

    def __lt__(self, other: object) -> Filter:
        return self._compared("<", other)

    def __le__(self, other: object) -> Filter:
        return self._compared("<=", other)

    def __gt__(self, other: object) -> Filter:
        return self._compared(">", other)

    def __ge__(self, other: object) -> Filter:
        return self._compared(">=", other)

    def _compared(self, op: str, other: object) -> Filter:
        if isinstance(other, Field):
            return Relation(self._path, op, other._path)
        if other is None and op not in ("==", "!="):
            raise FilterError(f"None has no order, so {self!r} {op} None would never match; compare it with == or !=")
        return Comparison(self._path, op, constant(other))

    def startswith(self, prefix: str | bytes) -> Filter:
        """Whether it is text (or bytes) that starts with the prefix; unknown if it is neither."""
        return self._affix("startswith", prefix)

    def endswith(self, suffix: str | bytes) -> Filter:
        """Whether it is text (or bytes) that ends with the suffix; unknown if it is neither."""
        return self._affix("endswith", suffix)

    def _affix(self, method: str, part: str | bytes) -> Filter:
        if type(part) not in (str, bytes):
            raise FilterError(f"{self!r}.{method}() takes str or bytes, but got a {type(part).__name__}")
        return Affix(self._path, method, part)

    def contains(self, member: Constant) -> Filter:
        """Whether it is text with such a piece in it, or a list, tuple or set with such a member; else unknown."""
        return Contains(self._path, constant(member))

    def isin(self, *constants: Any) -> Filter:
        """Whether it equals one of the constants, given one by one or as one tuple, list or set.

        As in SQL, false only if it could be compared with all of them.
        """
        if len(constants) == 1 and isinstance(constants[0], (tuple, list, set, frozenset)):
            (constants,) = constants
        checked = tuple(map(constant, constants))
        if isinstance(constants, (set, frozenset)):  # its order differs between processes, and a filter's text may not
            checked = tuple(sorted(checked, key=repr))
        return Within(self._path, checked)

    def exists(self) -> Filter:
        """Whether there is such a value at all; None is one. Never unknown."""
        return Exists(self._path)

    def __repr__(self) -> str:
        return repr(self._path)

    def __bool__(self) -> NoReturn:
        raise FilterError(NO_TRUTH.format(what=f"the field {self!r}"))

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        raise FilterError(f"{self!r} is no method; a field has {in_words(METHODS)}")

    def __contains__(self, member: object) -> NoReturn:
        raise FilterError(f"write {self!r}.contains({member!r}): Python makes a plain bool of what in returns")

    def __iter__(self) -> NoReturn:
        raise FilterError(f"the field {self!r} has nothing to iterate before it sees a message")

    def _no_operand(self, other: object) -> NoReturn:
        raise FilterError(
            f"the field {self!r} stands at & or |, which bind tighter than comparisons: put each comparison in "
            f"parentheses, and write {self!r} == True for a flag"
        )

    __and__ = __rand__ = __or__ = __ror__ = _no_operand

    def __invert__(self) -> NoReturn:
        self._no_operand(None)


class SymbolicMessage:
    """What `msg` is: every attribute of a message, as a field."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Field:
        if name not in ROOTS:
            raise NoSuchFieldError(f"a message has no {name!r}; it has {in_words(ROOTS)}")
        return Field(Path(name))

    def __dir__(self) -> tuple[str, ...]:
        return ROOTS

    def __repr__(self) -> str:
        return "msg"


msg: Final = SymbolicMessage()
"""The symbolic message: ``(msg.body.total >= 100) & (msg.headers["region"] == "EU")``."""
