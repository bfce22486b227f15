"""Where a position lies in what topics retain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from eventbus import EARLIEST, LATEST, Bus, Isolation, Retention
from eventbus.history import check_start


@pytest.mark.parametrize("start", [EARLIEST, LATEST, 0, -3, (1 << 63) - 1])
def test_a_position_or_an_offset_is_itself(start: Any) -> None:
    assert check_start(start) is start


def test_a_time_becomes_seconds_since_the_epoch_in_whatever_zone() -> None:
    assert check_start(datetime(1970, 1, 1, 0, 1, tzinfo=UTC)) == 60.0
    assert check_start(datetime(1970, 1, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 60.0
    local = datetime(2020, 5, 17, 12)
    assert check_start(local) == local.timestamp()


@pytest.mark.parametrize("start", [None, True, 1.5, "earliest", b"", datetime(2020, 1, 1).date()])
def test_anything_else_is_refused_by_the_name_of_its_option(start: object) -> None:
    for name in ("start", "stop"):
        with pytest.raises(TypeError, match=f"{name} takes EARLIEST, LATEST, an offset or a datetime") as caught:
            check_start(start, name)
        assert f"but got {start!r}" in str(caught.value)


def test_a_time_that_the_systems_clock_cannot_have_is_refused() -> None:
    with pytest.raises(ValueError, match="start takes a datetime that the system's clock can have"):
        check_start(datetime.min)


@pytest.mark.anyio
async def test_a_time_finds_the_earliest_message_of_several_topics() -> None:
    from tests.kit import ManualClock

    clock = ManualClock(0.0)
    bus = Bus(clock=clock)
    topics = [bus.topic(name, retain=Retention(9)) for name in ("t.a", "t.b", "t.empty")]
    bus.topic("t.forgets")
    for body in range(4):
        await topics[body % 2].publish(body)
        clock.advance(10)
    for seconds, expected in ((0, [0, 1, 2, 3]), (10, [1, 2, 3]), (11, [2, 3]), (31, [])):
        at = datetime.fromtimestamp(seconds, UTC)
        subscription = bus.subscription(f"at {seconds}", "t.*", start=at)
        assert [m.body for m in subscription.peek(9)] == expected


@pytest.mark.anyio
@pytest.mark.parametrize("isolation", Isolation)
async def test_history_of_more_than_a_page_is_read_whole(isolation: Isolation) -> None:
    bus = Bus(isolation=isolation)
    topic = bus.topic("t", retain=Retention(2000))
    await topic.publish_many(range(1500))
    subscription = topic.subscription("s", start=EARLIEST)
    assert [m.body for m in subscription.peek(9999)] == list(range(1500))
    bus._engine.check()
