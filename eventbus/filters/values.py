"""What a message holds, compared three-valued as in SQL: true, false, or unknown (None).

Bodies are the user's own objects, so every touch of one may run the user's code, and that code may raise. Nothing
here lets it through: what cannot be read is `MISSING`, what cannot be compared is unknown.

Two values are alike when both are text, both bytes, both numbers (int, float, Decimal), or of exactly one type. A
bool is no number here: ``flag == 1`` is unknown, as it is in every SQL that has booleans. NaN compares as in Python.
"""

from __future__ import annotations

import math
import operator
import types
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from eventbus.errors import FilterError

Constant: TypeAlias = str | bytes | int | float | bool | None
Truth: TypeAlias = bool | None

MISSING: Final[Any] = object()

CONSTANTS: Final = (str, bytes, int, float, bool, type(None))
MOST_BITS: Final = 2_048
"""An integer of so many bits has 617 digits, which Python writes and reads even at its strictest setting, 640."""

OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_KINDS: Final = (str, bytes, (int, float, Decimal))

# Code, not data. A filter may come from a stranger as text, and from these one walks to frames and globals.
_CODE: Final = (
    type,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.FrameType,
    types.CodeType,
    types.TracebackType,
    types.ModuleType,
)


def constant(value: object) -> Constant:
    """The value, if a filter can hold it and write it down so that it reads back the same; else FilterError."""
    if type(value) not in CONSTANTS:
        raise FilterError(
            f"a filter compares with str, bytes, int, float, bool and None, but got a {type(value).__name__}; "
            f"convert it first (an Enum's .value, a datetime's .timestamp()), or give a callable"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise FilterError(f"a filter takes finite numbers, but got {value!r}, which cannot be written down")
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise FilterError(f"a filter takes integers of up to {MOST_BITS} bits, but got one of {value.bit_length()}")
    return value  # type: ignore[return-value]  # its type was looked up above


def data(value: Any) -> Any:
    """The value; a function, class, module or frame is code and counts as missing."""
    try:
        return MISSING if isinstance(value, _CODE) else value
    except Exception:  # a __class__ of the user's own
        return MISSING


def is_mapping(kind: type) -> bool:
    """Whether objects of this type are read by item. The type alone decides, so that it can be remembered."""
    return issubclass(kind, Mapping)


def step(value: Any, key: str | int) -> Any:
    """One step into a value: a mapping's item, a list's or tuple's element, else a public attribute, or `MISSING`."""
    try:
        found = _found(value, key)
        return found if found is MISSING else data(found)
    except Exception:
        return MISSING


def _found(value: Any, key: str | int) -> Any:
    if is_mapping(type(value)):
        return value.get(key, MISSING)  # not value[key]: a defaultdict would grow
    if isinstance(key, int):
        return value[key] if isinstance(value, (list, tuple)) else MISSING
    return getattr(value, key, MISSING) if key.isidentifier() and not key.startswith("_") else MISSING


def compare(left: Any, op: str, right: Any) -> Truth:
    """What the comparison of two values says; unknown if one is missing, they are unlike, or the comparison raises."""
    if left is MISSING or right is MISSING:
        return None
    try:
        return bool(OPERATORS[op](left, right)) if _alike(left, right) else None
    except Exception:
        return None


def _alike(left: Any, right: Any) -> bool:
    if type(left) is type(right):
        return True
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    return any(isinstance(left, kind) and isinstance(right, kind) for kind in _KINDS)


def compare_constant(value: Any, op: str, fixed: Constant) -> Truth:
    """As `compare`, but the constant None asks whether a value is None, which every value that is there can answer."""
    if fixed is not None or value is MISSING:
        return compare(value, op, fixed)
    return (value is None) is (op == "==")


def contains(value: Any, member: Constant) -> Truth:
    """Whether text or bytes have such a piece, or a list, tuple, set or frozenset such a member; else unknown."""
    try:
        if isinstance(value, (str, bytes)):
            kind: Any = type(member)  # its own method, not one that a subclass put over it
            return bool(kind.__contains__(value, member)) if isinstance(value, kind) else None
        if isinstance(value, (list, tuple, set, frozenset)):
            return either(compare_constant(item, "==", member) for item in value)
    except Exception:  # a subclass's iterator
        return None
    return None


def both(truths: Iterable[Truth]) -> Truth:
    """Kleene's "and": false if one is false, else unknown if one is unknown, else true."""
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


def either(truths: Iterable[Truth]) -> Truth:
    """Kleene's "or", by De Morgan."""
    return negated(both(map(negated, truths)))


def negated(truth: Truth) -> Truth:
    """Kleene's "not": unknown stays unknown."""
    return None if truth is None else not truth
