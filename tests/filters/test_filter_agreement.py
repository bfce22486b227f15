"""The fast form of a filter and its plain evaluation always agree, and its text reads back: any filter, any message."""

from __future__ import annotations

import types
from decimal import Decimal
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus.filters import Field, Filter, msg, parse
from eventbus.filters.leaves import Leaf
from eventbus.filters.tree import And, Not, Or
from eventbus.message import Message


@attrs.define
class Thing:
    a: Any = attrs.field(default=None)
    b: Any = attrs.field(default=None)


@attrs.define
class Other:
    b: Any = attrs.field(default=None)

    @property
    def a(self) -> Any:
        if self.b is None:
            raise ValueError
        return self.b


class Word(str):
    __slots__ = ()


constants = st.one_of(
    st.sampled_from(["", "a", "ab", "b", b"", b"a", b"ab", 0, 1, 2, -1, 1.0, 0.0, -0.0, 0.5, True, False, None]),
    st.text(max_size=3),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=3),
)
scalars = constants | st.sampled_from(
    [float("nan"), float("inf"), Decimal(1), Decimal("sNaN"), Word("ab"), len, object(), Thing]
)
found = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["a", "b", "x y", "_c", 0]), inner, max_size=3),
        st.builds(Thing, inner, inner),
        st.builds(Other, inner),
        st.builds(lambda a: types.SimpleNamespace(a=a, _c=a), inner),
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=6,
)
messages = st.builds(
    Message,
    found,
    key=st.sampled_from([None, "a", "ab", b"a"]),
    headers=st.dictionaries(st.sampled_from(["a", "b"]), scalars, max_size=2),
    priority=st.integers(-1, 2),
    id=st.sampled_from([None, "a"]),
)
steps = st.lists(st.sampled_from(["a", "b", "x y", "_c", "contains", "upper", 0, -1]), max_size=3)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    root = draw(st.sampled_from(["body", "body", "body", "headers", "key", "priority", "id"]))
    field: Field = getattr(msg, root)
    if root in ("body", "headers"):
        for step in draw(steps):
            field = field[step]
    return field


ORDER = {"==": Field.__eq__, "!=": Field.__ne__}
ORDER_ALL = ORDER | {"<": Field.__lt__, "<=": Field.__le__, ">": Field.__gt__, ">=": Field.__ge__}


@st.composite
def leaves(draw: st.DrawFn) -> Filter:
    field = draw(fields())
    kind = draw(st.sampled_from(["compare", "compare", "relate", "isin", "affix", "contains", "exists"]))
    if kind == "compare":
        constant = draw(constants)
        return draw(st.sampled_from(list((ORDER if constant is None else ORDER_ALL).values())))(field, constant)
    if kind == "relate":
        return draw(st.sampled_from(list(ORDER_ALL.values())))(field, draw(fields()))
    if kind == "isin":
        return field.isin(draw(st.lists(constants, max_size=3)))
    if kind == "affix":
        part = draw(st.sampled_from(["", "a", "b", b"a"]))
        return draw(st.sampled_from([field.startswith, field.endswith]))(part)
    return field.contains(draw(constants)) if kind == "contains" else field.exists()


filters = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        inner.map(lambda f: ~f),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(filters, st.lists(messages, min_size=1, max_size=4))
def test_the_fast_form_agrees_with_the_plain_evaluation(filter: Filter, some: list[Message[Any]]) -> None:
    opposite = ~filter
    for message in [*some, *some]:  # the second time it knows the types
        truth = filter._truth(message._record)
        assert truth in (True, False, None)
        assert filter.matches(message) is (truth is True)
        assert opposite.matches(message) is (truth is False)


def shape(filter: Filter) -> object:
    """Every part of a filter, and the type of every constant."""
    match filter:
        case And(terms) | Or(terms):
            return type(filter), [shape(term) for term in terms]
        case Not(term):
            return Not, shape(term)
        case Leaf():
            parts = attrs.astuple(filter, recurse=False, filter=lambda a, _: not a.name.startswith("_"))
            return type(filter), repr(parts)
    raise AssertionError(filter)


@settings(max_examples=300, deadline=None)
@given(filters)
def test_the_text_of_a_filter_reads_back_to_the_same_filter(filter: Filter) -> None:
    again = parse(repr(filter))
    assert again == filter
    assert hash(again) == hash(filter)
    assert shape(again) == shape(filter)


def test_the_shape_tells_constants_apart() -> None:
    assert shape(msg.body == 1) != shape(msg.body == 1.0)
    assert shape(msg.body.isin(1)) != shape(msg.body.isin(True))
