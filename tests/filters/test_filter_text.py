"""The text form: what it means, and that no text whatever ends in anything but a filter or a FilterError."""

# ruff: noqa: B015, E711, E712  # comparisons with a field build filters, or raise

from __future__ import annotations

import sys
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventbus.errors import FilterError
from eventbus.filters import Filter, msg, parse


@pytest.mark.parametrize(
    ("text", "filter"),
    [
        (
            "body.total >= 100 and headers['region'] in ('EU', 'UK')",
            (msg.body.total >= 100) & msg.headers["region"].isin("EU", "UK"),
        ),
        ("msg.body.total >= 100", msg.body.total >= 100),
        ("0 < body.x <= 1_000", (msg.body.x > 0) & (msg.body.x <= 1000)),
        ("body.a < body.b", msg.body.a < msg.body.b),
        ("body.x not in ['a', -1.5]", ~msg.body.x.isin("a", -1.5)),
        ("body.x.isin('a', 'b') or body.x.isin(('c',))", msg.body.x.isin("a", "b") | msg.body.x.isin("c")),
        ("'vip' in body.tags", msg.body.tags.contains("vip")),
        ("'vip' not in body.tags", ~msg.body.tags.contains("vip")),
        ("body.x is None", msg.body.x == None),
        ("body.x is not None", msg.body.x != None),
        ("None != body.x", msg.body.x != None),
        ("not key.startswith('eu-')", ~msg.key.startswith("eu-")),
        ('key.endswith(b"\\xff")', msg.key.endswith(b"\xff")),
        ("body.tags[-1].exists()", msg.body.tags[-1].exists()),
        ("  (\n\tbody.x == 1\r\n  or body.y == True )  ", (msg.body.x == 1) | (msg.body.y == True)),
        ("(((body.x == 1)) and ((body.y == 1) and body.z == 1))", parse("body.x == 1 and body.y == 1 and body.z == 1")),
        ("body.x == '\\ud800\\u00e9\\'\\t\\x00\\x41'", msg.body.x == "\ud800é'\t\0A"),
        ("body.é == 'ü' 'x'", msg.body["é"] == "üx"),
        ("body == .5e-3", msg.body == 0.0005),
        ("body == 1.", msg.body == 1.0),
    ],
)
def test_text_means_what_the_expression_means(text: str, filter: Filter) -> None:
    assert parse(text) == filter
    assert parse(repr(filter)) == filter


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("", 1, "compares fields"),
        ("   ", 1, "compares fields"),
        ("body.x ==", 1, "compares fields"),
        ("body.x = 1", 8, "compares fields"),
        ("body.x == 1 and len(body.y) > 3", 17, r"'len\(body.y\)'"),
        ("body.ü == 'ü' and body.y + 3 > 1", 26, "compares fields"),
        ("body.ü == 'ü' and f(1)", 19, r"'f\(1\)'"),
        ("body.x", 1, "field alone"),
        ("3", 1, "cannot understand '3'"),
        ("1 < 2", 1, "one side"),
        ("body.x < None", 1, "no order"),
        ("body.x is 3", 11, "None alone"),
        ("body.x in body.y", 1, "constant must stand"),
        ("body.x in 3", 11, "cannot understand '3'"),
        ("body.x == -True", 11, "compares fields"),
        ("body.x == --1", 11, "compares fields"),
        ("body.x == 1e999", 11, "finite"),
        ("body.x == 0x10", 11, "compares fields"),
        ("body.x == 07", 11, "cannot understand"),
        ("body.x == ...", 11, "a str, bytes, int|filter compares with str"),
        ("body._x == 1", 1, "begin with '_'"),
        ("body.__class__ == 1", 1, "begin with '_'"),
        ("__class__ == 1", 1, "a message has no '__class__'"),
        ("msg.__class__ == 1", 1, "a message has no '__class__'"),
        ("msg.__getattr__ == 1", 1, "a message has no"),
        ("order.x == 1", 1, "a message has no 'order'"),
        ("msg == 1", 1, "a message has no 'msg'"),
        ("body.contains == 1", 1, r"\['contains'\]"),
        ("body.upper() == 'X'", 1, "constant must stand"),
        ("body.x.lower('a')", 1, "compares fields"),
        ("body.startswith()", 1, "takes 1 constant, but got 0"),
        ("body.exists('x')", 1, "takes no constant"),
        ("body.startswith(prefix='x')", 23, "compares fields"),
        ("body.x.contains(('a',))", 1, "got a tuple"),
        ("body[body.x] == 1", 6, "constant must stand"),
        ("body[1.5] == 1", 1, "got a float"),
        ("body[0:1] == 1", 7, "compares fields"),
        ("'abc'[0] == body.x", 1, "cannot understand \"'abc'\""),
        ("lambda == 1", 8, "cannot understand"),
        ("body.x if body.y else body.z", 1, "cannot understand"),
        ("body.x == 1) or (body.y == 1", 12, "compares fields"),
        ("body.x == '\t'", 11, "compares fields"),
        ("body.x == 1 # all", 13, "compares fields"),
        ("body.x == 'a''b'", 11, "compares fields"),
        ("body.x == '''a'''", 11, "compares fields"),
        ("body.x == r'a'", 11, "compares fields"),
        ("body.x == b'\\u0041'", 11, "compares fields"),
        ("body.x == b'\xe9'", 11, "cannot understand"),
        ("not " * 40 + "body.x == 1", 129, "nests up to 32"),
        ("(" * 33 + "body.x == 1" + ")" * 33, 33, "nests up to 32"),
    ],
)
def test_what_is_not_understood_is_shown_with_its_column(text: str, column: int, why: str) -> None:
    with pytest.raises(FilterError, match=why) as caught:
        parse(text)
    assert (caught.value.text, caught.value.position) == (text, column)
    assert f"at column {column} " in str(caught.value)


HOSTILE = [
    "(" * 100_000,
    "(" * 4_000,
    "[" * 4_000,
    "-" * 4_000 + "1",
    "-" * 5_000 + "1",
    "~" * 4_000 + "1",
    "not " * 1_000 + "body.x == 1",
    "body" + ".x" * 2_000 + " == 1",
    "body" + "[0]" * 1_300 + " == 1",
    "9" * 4_000,
    "9" * 5_000,
    "body.x == " + "9" * 4_000,
    "body.x == '\\U99999999'",
    "\0",
    "\ud800",
    "body.x == '\ud800'",
    "body.x == '\\d'",
    "body.x == b'\\777'",
    "body.x == '\\0'",
    "body.x == '\\N{BULLET}'",
    "body.x == 1if",
    "body.x == 1 and 0or 1",
    "body.x is 1 is 2",
    "1 is 2",
    "body.x == 1\\\n",
    "body.x == 1; import os",
    "(yield)",
    "await body.x",
    "(body := 3) == 3",
    "f'{body.x}' == 1",
    "{**body} == 1",
    "[x for x in body] == 1",
    "body.x == 1 or __import__('os').system('true')",
    "body\u2028== 1",
    "\ufeffbody == 1",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_ends_in_a_filter_error_and_no_warning(text: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(FilterError):
            parse(text)
    assert caught == []


@given(st.text(alphabet="body.x key_1'\"\\()[],<>=!-nrtu09eEb é\n\0\ud800&|~", max_size=60) | st.text(max_size=30))
@example("body.x == 1 'a'")
def test_any_text_gives_a_filter_that_reads_back_or_a_filter_error(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            filter = parse(text)
        except FilterError:
            return
    assert parse(repr(filter)) == filter


TOKENS = ["body", ".x", ".exists", "()", "(", ")", "[0]", "['a']", "==", "<", "in", "not", "is", "None", "and", "or"]


@given(st.lists(st.sampled_from([*TOKENS, "1", "-1", "'a'", ",", "msg.", "b'z'", "if", "else", "True"]), max_size=12))
def test_any_order_of_good_tokens_gives_a_filter_or_a_filter_error(tokens: list[str]) -> None:
    try:
        filter = parse(" ".join(tokens))
    except FilterError:
        return
    assert parse(repr(filter)) == filter


def test_text_of_another_type_is_refused() -> None:
    with pytest.raises(FilterError, match="a str, but got a bytes"):
        parse(b"body == 1")  # type: ignore[arg-type]


def test_a_parser_out_of_recursion_is_a_filter_error() -> None:
    text = "body" + ".x" * 900 + " == 1"
    limit = sys.getrecursionlimit()
    depth = len(__import__("inspect").stack(0))
    sys.setrecursionlimit(depth + 120)
    try:
        with pytest.raises(FilterError):
            parse(text)
    finally:
        sys.setrecursionlimit(limit)


def test_the_largest_integer_survives_the_strictest_digit_limit() -> None:
    filter = msg.body == 2**2048 - 1
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert parse(repr(filter)) == filter
        with pytest.raises(FilterError):
            parse("body == " + "9" * 700)
    finally:
        sys.set_int_max_str_digits(limit)
    with pytest.raises(FilterError, match="2048 bits"):
        msg.body == 2**2048
