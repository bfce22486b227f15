"""The clocks: the system's, or whatever else is handed in."""

from __future__ import annotations

import time

import pytest

from eventbus import Bus, Clock
from eventbus._runtime.clock import time_of
from tests.kit import ManualClock


def test_the_clock_is_the_systems() -> None:
    clock = Clock()
    before = (time.time(), time.monotonic())
    assert before[0] <= clock.time() <= time.time()
    assert before[1] <= clock.monotonic() <= time.monotonic()


def test_the_hot_paths_read_the_systems_clock_without_a_detour() -> None:
    assert time_of(Clock()) is time.time


def test_any_other_clock_is_asked() -> None:
    clock = ManualClock(5.0)
    assert time_of(clock)() == 5.0

    class Odd(Clock):
        pass

    odd = Odd()
    assert time_of(odd) == odd.time


def test_a_clock_need_not_be_a_clock_but_must_look_like_one() -> None:
    class Like:
        def time(self) -> float:
            return 7.0

        def monotonic(self) -> float:
            return 0.0

    bus = Bus(clock=Like())  # type: ignore[arg-type]
    bus.queue("q").put_nowait("b")
    assert bus.queue("q").peek()[0].time == 7.0
    with pytest.raises(TypeError, match=r"Bus\.clock takes an object with time"):
        Bus(clock=time.time)  # type: ignore[arg-type]
