"""How a thread waits for what the core said is not there yet."""

from __future__ import annotations

from eventbus._core.errands import run_errands
from eventbus._faces.queue import check_within
from eventbus._runtime.clock import monotonic
from eventbus._runtime.threads import Threads
from eventbus.publishing import Confirmation, Crossing, Steps

__all__ = ["Timeout", "check_timeout", "cross", "send_all"]

Timeout = float | None
"""Seconds, or None to wait without an end."""


def check_timeout(timeout: object) -> None:
    """Seconds, or nothing."""
    if timeout is not None:
        check_within(timeout, "timeout")


def cross(threads: Threads, crossing: Crossing, timeout: Timeout) -> int:
    """Enter what is on its way, and have it written if it is durable: what its last attempt returned."""
    offset = enter(threads, crossing, timeout)
    if crossing.sent is not None:
        enter(threads, Confirmation(crossing.engine, (crossing.sent,)), timeout)
    return offset


def enter(threads: Threads, crossing: Crossing, timeout: Timeout) -> int:
    """Enter what is on its way, waiting for room."""
    offset = crossing.attempt() or threads.until(
        crossing.attempt,
        crossing.give_up,
        trouble=crossing.trouble,
        timeout=timeout,
        what=crossing.what,
    )
    run_errands(crossing.engine.errands)
    return offset


def send_all(threads: Threads, steps: Steps, timeout: Timeout) -> list[int]:
    """Enter many messages, waiting for room, at most `timeout` seconds in all."""
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        try:
            crossing = next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if crossing is None:
            continue
        left = None if deadline is None else max(0.0, deadline - monotonic())
        try:
            enter(threads, crossing, left)
        except TimeoutError as late:
            steps.throw(late)  # it says how many have entered
