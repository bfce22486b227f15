"""Filters built from `msg`: their structure, their text, and the mistakes that must not pass silently."""

# ruff: noqa: B015, B018, E711, E712  # comparisons with a field build filters, or raise

from __future__ import annotations

import copy
import datetime
import enum
import itertools
import math

import pytest

from eventbus.errors import FilterError
from eventbus.filters import Field, Filter, compile_filter, msg, parse
from eventbus.filters.paths import ROOTS
from eventbus.message import Message


def test_msg_has_exactly_the_attributes_of_a_message() -> None:
    public = {name for name, value in vars(Message).items() if isinstance(value, property)}
    assert set(ROOTS) == set(dir(msg)) == public
    for name in ROOTS:
        assert isinstance(getattr(msg, name), Field)


@pytest.mark.parametrize("name", ["bodi", "__wrapped__", "_record"])
def test_another_name_is_refused_with_the_valid_ones(name: str) -> None:
    with pytest.raises(FilterError, match=r"body, key, headers.* and causation_id"):
        getattr(msg, name)
    assert not hasattr(msg, name)


@pytest.mark.parametrize(
    ("filter", "text"),
    [
        (msg.body.total >= 100, "body.total >= 100"),
        (100 <= msg.body.total, "body.total >= 100"),  # noqa: SIM300
        (msg.body["total"] == 1.5, "body.total == 1.5"),
        (msg.headers["x-region"] != "EU", "headers['x-region'] != 'EU'"),
        (msg.body["contains"] < b"x", "body['contains'] < b'x'"),
        (msg.body["class"] > -1, "body['class'] > -1"),
        (msg.body["_id"].isin("a"), "body['_id'] in ('a',)"),
        (msg.body["ﬁ"] == True, "body['ﬁ'] == True"),
        (msg.body.tags[0][-1] == None, "body.tags[0][-1] == None"),
        (msg.body.a < msg.body.b, "body.a < body.b"),
        (msg.key.startswith("eu-"), "key.startswith('eu-')"),
        (msg.key.endswith(b"\n"), "key.endswith(b'\\n')"),
        (msg.body.tags.contains(3), "body.tags.contains(3)"),
        (msg.body.x.isin("EU", "UK"), "body.x in ('EU', 'UK')"),
        (msg.body.x.isin(("EU", "UK")), "body.x in ('EU', 'UK')"),
        (msg.body.x.isin({"UK", "EU"}), "body.x in ('EU', 'UK')"),
        (msg.body.x.isin(), "body.x in ()"),
        (~msg.body.x.isin([1, None]), "body.x not in (1, None)"),
        (msg.deaths[0].reason.exists(), "deaths[0].reason.exists()"),
        (~(msg.priority > 3), "not priority > 3"),
        (~~(msg.priority > 3), "not not priority > 3"),
        ((msg.id == "a") & (msg.id == "b") & (msg.id == "c"), "id == 'a' and id == 'b' and id == 'c'"),
        ((msg.id == "a") & ((msg.id == "b") | (msg.id == "c")), "id == 'a' and (id == 'b' or id == 'c')"),
        (~((msg.id == "a") | (msg.id == "b")), "not (id == 'a' or id == 'b')"),
    ],
)
def test_the_repr_of_a_filter_is_its_text_and_parses_back_equal(filter: Filter, text: str) -> None:
    assert repr(filter) == text
    assert parse(text) == filter
    assert hash(parse(text)) == hash(filter)


def test_filters_compare_by_structure() -> None:
    assert (msg.body.x == 1) == (msg.body["x"] == 1)
    assert (msg.body.x == 1) != (msg.body.y == 1)
    assert ((msg.id == "a") & (msg.id == "b")) & (msg.id == "c") == (msg.id == "a") & (
        (msg.id == "b") & (msg.id == "c")
    )
    assert len({msg.body.x == 1, msg.body.x == 1.0, msg.body.x == True, msg.body.x == "1"}) == 4
    assert msg.body.x.isin(1, 2) != msg.body.x.isin(1, True)
    assert (msg.body.x == 1) != "body.x == 1"


def test_a_filter_that_has_matched_still_equals_a_new_one_and_can_be_copied() -> None:
    filter = msg.body == 1
    assert filter.matches(Message(1))
    assert not filter.matches(Message(2))
    assert compile_filter(filter) is compile_filter(filter)
    assert filter == (msg.body == 1) == copy.deepcopy(filter)


def test_neither_a_filter_nor_a_field_has_a_truth_value() -> None:
    with pytest.raises(FilterError, match="parentheses"):
        bool(msg.body.x == 1)
    with pytest.raises(FilterError, match=r"& \| ~"):
        bool(msg.body.x)
    with pytest.raises(FilterError):
        (msg.body.x == 1) and (msg.body.y == 2)
    with pytest.raises(FilterError):
        not msg.body.x
    with pytest.raises(FilterError):
        0 < msg.body.x < 10
    with pytest.raises(FilterError, match=r"\.isin"):
        msg.body.x in ("a", "b")
    with pytest.raises(FilterError, match=r"contains\('a'\)"):
        "a" in msg.body.x
    with pytest.raises(FilterError, match="iterate"):
        list(msg.body.x)
    with pytest.raises(TypeError):
        hash(msg.body.x)


def test_a_forgotten_parenthesis_is_said() -> None:
    with pytest.raises(FilterError, match="tighter than comparisons"):
        msg.body.x == 1 & msg.body.y == 2
    with pytest.raises(FilterError, match="== True for a flag"):
        (msg.body.x == 1) | msg.body.flag
    with pytest.raises(FilterError, match="== True for a flag"):
        ~msg.body.flag
    for wrong in (True, "id == 'a'"):
        with pytest.raises(TypeError):
            (msg.body.x == 1) & wrong  # type: ignore[operator]
        with pytest.raises(TypeError):
            (msg.body.x == 1) | wrong  # type: ignore[operator]


class Colour(str, enum.Enum):  # noqa: UP042  # the older way, still common
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [[1], (1,), {}, object(), datetime.datetime(2024, 1, 1), Colour.RED, 1j, math.nan, math.inf, -math.inf, 10**5000],
    ids=itertools.count(),
)
def test_what_cannot_be_written_down_is_no_constant(value: object) -> None:
    with pytest.raises(FilterError, match=r"a filter (compares with str|takes)"):
        msg.body.x == value
    with pytest.raises(FilterError):
        msg.body.x.isin(1, value)
    with pytest.raises(FilterError):
        msg.body.x.contains(value)  # type: ignore[arg-type]


def test_questions_that_could_never_match_are_refused() -> None:
    with pytest.raises(FilterError, match="no order"):
        msg.body.x < None
    with pytest.raises(FilterError, match="str or bytes, but got a int"):
        msg.body.x.startswith(3)  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="key has no fields"):
        msg.key.region
    with pytest.raises(FilterError, match=r"startwith is no method; a field has startswith"):
        msg.body.startwith("x")
    with pytest.raises(FilterError, match="name or a whole number, but got a bool"):
        msg.body[True]


@pytest.mark.parametrize("name", ["_x", "__class__x", "__dict__x"])
def test_names_with_a_leading_underscore_are_not_attributes(name: str) -> None:
    with pytest.raises(FilterError, match="begin with '_'"):
        getattr(msg.body, name)
    assert not hasattr(msg.body, name)


def test_what_could_not_be_read_back_is_not_built() -> None:
    deep = msg.body.x == 1
    for _ in range(31):
        deep = ~deep
    assert parse(repr(deep)) == deep
    with pytest.raises(FilterError, match="nests up to 32"):
        ~deep
    ladder = msg.id == "x"
    for step in range(31):
        ladder = ladder & (msg.id == "y") if step % 2 else ladder | (msg.id == "z")
    assert parse(repr(ladder)) == ladder
    with pytest.raises(FilterError, match="4,096 characters"):
        msg.body.x == "x" * 5000
    with pytest.raises(FilterError, match="4,096 characters"):
        msg.body.x.isin(tuple(range(5000)))
    path = msg.body
    for _ in range(32):
        path = path.x
    with pytest.raises(FilterError, match="32 steps"):
        path.x
    assert not (path == path).matches(Message({}))


def test_fields_and_msg_show_themselves_as_text() -> None:
    assert repr(msg) == "msg"
    assert repr(msg.body.x["y z"]) == "body.x['y z']"


def test_filter_is_a_type_to_name_and_not_to_make() -> None:
    with pytest.raises(TypeError):
        Filter()  # type: ignore[abstract]
