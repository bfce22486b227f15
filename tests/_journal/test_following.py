"""Replays that follow topics of which some are in the journal: nothing is passed by, and nobody spins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from eventbus import Bus, JournalError, Retention, blocking
from tests._journal.test_store import held
from tests.kit.journals import Plan, be_quiet, check, inject

TOPICS = ["kept", "in memory"]


def declare(bus: Any) -> tuple[Any, Any]:
    return bus.topic("kept"), bus.topic("in memory", durable=False, retain=Retention())


class Follower(threading.Thread):
    """Reads so many bodies."""

    def __init__(self, replay: Any, count: int) -> None:
        super().__init__(daemon=True)
        self.replay = replay
        self.count = count
        self.seen: list[Any] = []
        self.start()

    def run(self) -> None:
        for message in self.replay:
            self.seen.append(message.body)
            if len(self.seen) == self.count:
                break

    def all(self) -> list[Any]:
        self.join(30)
        assert not self.is_alive(), f"it waits for more than {self.seen}"
        return self.seen


def until(condition: Callable[[], object]) -> None:
    while not condition():
        threading.Event().wait(0.001)


def asleep(bus: Any) -> bool:
    return bool(bus._engine.archive.followers.parked)


@pytest.mark.anyio
async def test_whoever_follows_one_key_sleeps_while_others_come(tmp_path: Path) -> None:
    async with Bus(journal=tmp_path / "j.db") as bus:
        topic = bus.topic("kept")
        await topic.publish("a1", key="a")
        await topic.publish("b1", key="b")
        seen: list[Any] = []

        async def follow() -> None:
            async with aclosing(topic.replay(key="a", follow=True)) as replay:
                async for message in replay:
                    seen.append(message.body)
                    if message.body == "a2":
                        break

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                while not asleep(bus):
                    await anyio.lowlevel.checkpoint()
                await topic.publish("b2", key="b")
                await bus.flush()
                while not asleep(bus):
                    await anyio.lowlevel.checkpoint()
                await topic.publish("a2", key="a")
    assert seen == ["a1", "a2"]


def test_what_is_in_memory_at_once_does_not_hide_what_is_still_being_written(tmp_path: Path) -> None:
    with blocking.Bus(tmp_path / "j.db") as bus:
        kept, memory = declare(bus)
        with held(bus):
            kept.publish_nowait(1)
            memory.publish(2)
            follower = Follower(bus.replay(TOPICS, follow=True), 2)
            until(lambda: asleep(bus))
            assert follower.seen == []
        assert follower.all() == [1, 2]
        check(bus)


def test_it_goes_on_when_what_was_being_written_has_failed(tmp_path: Path) -> None:
    bus, plan = blocking.Bus(tmp_path / "j.db"), Plan(1, 13, wanted="COMMIT".__eq__)
    plan.armed = False
    with inject(bus, plan):
        kept, memory = declare(bus)
        be_quiet(bus)
        plan.armed = True
        with held(bus):
            kept.publish_nowait(1)
            memory.publish(2)
            follower = Follower(bus.replay(TOPICS, follow=True), 1)
            until(lambda: asleep(bus))
        assert follower.all() == [2]
        with pytest.raises(JournalError):
            bus.flush()


def test_it_reaches_a_stop_that_is_not_written_yet(tmp_path: Path) -> None:
    with blocking.Bus(tmp_path / "j.db") as bus:
        kept, _ = declare(bus)
        with held(bus):
            last = [kept.publish_nowait(n) for n in range(3)][-1]
            follower = Follower(kept.replay(stop=last + 1, follow=True), 4)
            until(lambda: asleep(bus))
            assert follower.seen == []
        assert follower.all() == [0, 1, 2]
