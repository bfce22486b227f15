"""Taking back what a consumer has, while another thread hands it out or acks it in the same moment."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from eventbus import Bus, Delivery

pytestmark = pytest.mark.anyio


class HandedOut(deque[Any]):
    """A buffer whose last message another thread takes between the look and the grasp."""

    def pop(self) -> Any:  # type: ignore[override]
        self.clear()
        raise IndexError


class Acked(set[Delivery[Any]]):
    """What is out, of which another thread acks the last between the look and the grasp."""

    def pop(self) -> Any:
        self.clear()
        raise KeyError


async def test_what_is_handed_out_in_the_same_moment_is_not_taken_back() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put_many([1, 2])
    async with queue.consume(2) as consumer:
        first = await anext(consumer)
        holder = consumer._holder
        second = holder.buffer[0]
        holder.buffer = consumer._buffer = HandedOut(holder.buffer)
        assert queue.peek(5) == []
        assert not second.settled  # type: ignore[attr-defined]
        first.ack()


async def test_what_is_acked_in_the_same_moment_does_not_come_back() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put(1)
    async with queue.consume() as consumer:
        await anext(consumer)
        consumer._holder.out = Acked(consumer._holder.out)  # type: ignore[arg-type]
    assert queue.stats().ready == 0
    assert queue.stats().acked == 1
