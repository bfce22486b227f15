"""The account that every figure gives of its messages, and what ends a figure whose consumer breaks."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.workload import LostMessageError, account, looped, orders, together, until_joined


def test_the_same_bodies_serve_both_sides() -> None:
    assert orders(10) is orders(10)
    assert len({id(body) for body in orders(10)}) == 10


def test_a_lost_message_is_noticed() -> None:
    with pytest.raises(LostMessageError, match="10 messages went in and 9 came out"):
        account(orders(10), orders(10)[1:])


@pytest.mark.parametrize("ordered", [True, False])
def test_a_message_twice_in_place_of_another_is_noticed(ordered: bool) -> None:
    sent = orders(3)
    with pytest.raises(LostMessageError):
        account(sent, [sent[0], sent[1], sent[1]], ordered=ordered)


def test_another_order_is_noticed_where_order_is_promised() -> None:
    sent = orders(3)
    account(sent, sent[::-1], ordered=False)
    with pytest.raises(LostMessageError, match="another order"):
        account(sent, sent[::-1])


def test_a_broken_consumer_ends_the_run_with_its_error() -> None:
    async def breaking() -> None:
        raise ValueError("broken")

    @looped
    async def side(count: int) -> float:
        never = asyncio.Event()

        async def waiting() -> None:
            await never.wait()

        return await until_joined(waiting(), [breaking()], [])

    with pytest.raises(ValueError, match="broken"):
        side(1)


def test_the_clock_covers_all_of_the_work() -> None:
    @looped
    async def side(count: int) -> float:
        done: list[int] = []

        async def work() -> None:
            done.append(count)

        seconds = await together(work(), work())
        assert done == [count, count]
        return seconds

    assert side(3) > 0


def test_the_loop_is_that_of_asyncio() -> None:
    @looped
    async def side(count: int) -> float:
        return float(type(asyncio.get_running_loop()).__module__.startswith("asyncio."))

    assert side(1) == 1.0
