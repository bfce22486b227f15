"""What ``where=`` takes: a filter, its text, a callable that may fail, or nothing."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest

from eventbus.errors import FilterError
from eventbus.filters import as_predicate, compile_filter, msg
from eventbus.message import Message

ONE = Message({"total": 1})._record
TWO = Message({"total": 2})._record


def test_nothing_matches_everything_and_has_no_test() -> None:
    predicate = as_predicate(None)
    assert (predicate.source, predicate.test, predicate.errors) == (None, None, 0)


def test_a_filter_and_its_text_are_one_source() -> None:
    filter = msg.body.total == 1
    predicate = as_predicate(filter)
    assert predicate.source == as_predicate("body.total == 1").source == filter
    assert predicate.test is compile_filter(filter)
    assert predicate.test(ONE)
    assert not predicate.test(TWO)
    assert predicate.source != as_predicate("body.total == 2").source


def test_a_callable_gets_the_message_and_its_result_is_taken_as_a_bool() -> None:
    def odd(message: Message[Any]) -> int:
        assert isinstance(message, Message)
        return int(message.body["total"]) % 2

    predicate = as_predicate(odd)
    assert predicate.source == as_predicate(odd).source
    assert predicate.test is not None
    assert predicate.test(ONE) is True
    assert predicate.test(TWO) is False
    assert predicate.errors == 0


def test_a_callable_that_raises_does_not_match_and_is_counted_and_logged_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(message: Message[Any]) -> bool:
        return bool(message.body["absent"])

    test = as_predicate(broken)
    assert test.test is not None
    with caplog.at_level(logging.ERROR, logger="eventbus"):
        assert not any(test.test(ONE) for _ in range(9))
    assert test.errors == 9
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [1, 2, 4, 8]
    for part in ("broken", "KeyError: 'absent'", "1, 2, 4, 8"):
        assert part in caplog.text


def test_a_result_without_truth_counts_as_an_error() -> None:
    predicate = as_predicate(lambda message: msg.body.total == 1)
    assert predicate.test is not None
    assert predicate.test(ONE) is False
    assert predicate.errors == 1


def test_what_is_no_exception_of_the_callable_passes_through() -> None:
    def stop(message: Message[Any]) -> NoReturn:
        raise KeyboardInterrupt

    predicate = as_predicate(stop)
    assert predicate.test is not None
    with pytest.raises(KeyboardInterrupt):
        predicate.test(ONE)
    assert predicate.errors == 0


async def later(message: Message[Any]) -> bool:
    return True


async def stream(message: Message[Any]) -> AsyncIterator[bool]:
    yield True


class Later:
    async def __call__(self, message: Message[Any]) -> bool:
        return True


@pytest.mark.parametrize("where", [later, stream, Later(), functools.partial(later)])
def test_async_callables_are_refused(where: Any) -> None:
    with pytest.raises(FilterError, match="async"):
        as_predicate(where)


@pytest.mark.parametrize("where", [True, 3, b"body == 1", msg, ["body == 1"]])
def test_another_type_is_refused_by_name(where: Any) -> None:
    with pytest.raises(FilterError, match=f"but got a {type(where).__name__}") as caught:
        as_predicate(where)
    assert "a filter, its text, a callable that takes a message, or None" in str(caught.value)


def test_a_field_alone_is_no_filter() -> None:
    with pytest.raises(FilterError, match=r"body\.flag == True"):
        as_predicate(msg.body.flag)  # type: ignore[arg-type]
