"""A journal that this version or one before has written is read as it was written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from eventbus import blocking
from tests._journal.make_golden import GOLDEN, NOW, declare, make
from tests.kit.clock import ManualClock
from tests.kit.journals import check, drain

EURO = "größer als 1 €"
CONTENTS: dict[str, list[tuple[int, Any]]] = {
    "jobs": [
        (4, {"n": 3, "text": EURO}),
        (5, {"n": 4, "text": EURO}),
        (6, {"n": 5, "text": EURO}),
        (9, {"n": 7}),
    ],
    "ranks": [(13, 3), (10, 0), (12, 2)],
    "orders/eu": [(20, {"n": 1})],
    "all": [*((19 + n, {"n": n}) for n in range(5)), (24, "news")],
    "odd": [(20, {"n": 1}), (22, {"n": 3})],
    "dead-letters": [(7, {"n": 2, "text": EURO})],
}


@pytest.fixture(params=["golden", "fresh"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    if request.param == "golden":
        shutil.copy(GOLDEN, path)
        path.chmod(0o600)
    else:
        make(path)
    return path


def test_it_has_what_was_written(journal: Path) -> None:
    clock = ManualClock(NOW)
    bus = blocking.Bus(journal=journal, clock=clock)
    things = declare(bus)
    with bus:
        check(bus)
        for name, contents in CONTENTS.items():
            assert drain(things[name]) == contents, name
        assert sorted(drain(things["lanes"])) == [(14 + n, [n, 1.5, None, True]) for n in range(5)]
        check(bus)
        assert bus.query("SELECT id, what FROM invoices") == [(1, "one")]
        assert [m.body for m in things["orders"].replay()] == [{"n": n} for n in range(5)]
        assert [m.body for m in things["orders"].replay(key="k3")] == [{"n": 3}]
        assert things["jobs"].stats().delayed == 2
        assert (things["once"].put("again", id="a"), things["ticks"].publish("again", id="a")) == (25, 26)
        clock.advance(3600)
        again = things["jobs"].get(timeout=30)
        assert (again.body, again.attempt, again.failures) == ({"n": 0, "text": EURO}, 2, 1)
        clock.advance(3600)
        assert things["jobs"].get(timeout=30).body == {"n": 6}
        check(bus)


def test_it_has_every_part_of_a_message(journal: Path) -> None:
    bus = blocking.Bus(journal=journal, clock=ManualClock(NOW))
    things = declare(bus)
    with bus:
        jobs = [things["jobs"].get(timeout=30).message for _ in range(4)]
        assert jobs[3].id == "seven"
        assert jobs[3].headers == {"a": [1, 2], "b": None}
        assert jobs[3].expires == NOW + 86_400
        assert jobs[0].time == NOW
        (death,) = things["dead-letters"].get(timeout=30).message.deaths
        assert (death.queue, death.reason, death.attempts, death.error) == ("jobs", "rejected", 1, "never")
        keys: dict[int, object] = {}
        while len(keys) < 5:
            delivery = things["lanes"].get(timeout=30)
            keys[delivery.offset] = delivery.key
            delivery.ack()
        assert keys == dict(enumerate(["a", "b", b"\xff\x00", None, "a"], 14))
