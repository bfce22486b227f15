"""Errands: what gathers under the lock is done outside it, once, in order, by whoever comes first."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from eventbus._core.errands import LetGo, Note, Tell, run_errands
from eventbus.message import NO_HEADERS


class Call:
    def __init__(self, function: Any) -> None:
        self.run = function


def test_errands_are_done_in_order_those_too_that_come_meanwhile() -> None:
    done: list[int] = []
    errands: deque[Any] = deque()

    def first() -> None:
        done.append(1)
        errands.append(Call(lambda: done.append(3)))

    errands.extend([Call(first), Call(lambda: done.append(2))])
    run_errands(errands)
    assert done == [1, 2, 3]
    assert not errands


def test_an_errand_that_another_thread_took_is_no_error() -> None:
    class Raced(deque[Any]):
        def __len__(self) -> int:
            return 1

    run_errands(Raced())


def test_an_errand_that_raises_leaves_the_others_to_the_next() -> None:
    done: list[int] = []
    errands: deque[Any] = deque([Call(lambda: 1 // 0), Call(lambda: done.append(1))])
    with pytest.raises(ZeroDivisionError):
        run_errands(errands)
    run_errands(errands)
    assert done == [1]


def test_telling_reaches_every_watch_with_the_facts() -> None:
    told: list[Any] = []

    class Watch:
        def dropped(self, *facts: Any) -> None:
            told.append((self, *facts))

    one, two = Watch(), Watch()
    Tell((one, two), "dropped", ("record", "q")).run()  # type: ignore[arg-type]
    assert told == [(one, "record", "q"), (two, "record", "q")]


def test_a_note_is_said_with_no_error() -> None:
    said: list[Any] = []
    Note(lambda text, error: said.append((text, error)), "text").run()
    assert said == [("text", None)]


def test_letting_go_keeps_records_until_it_is_forgotten() -> None:
    gone: list[int] = []

    class Body:
        def __del__(self) -> None:
            gone.append(1)

    errands: deque[Any] = deque([LetGo([(1, 0.0, Body(), None, NO_HEADERS, 0, "q", None, None)])])
    assert not gone
    run_errands(errands)
    assert gone
