"""A process that works on a journal is killed at a random moment, again and again, on the same file."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import eventbus
from eventbus import blocking
from tests.kit.journals import check, is_sound
from tests.scenarios.killed import declare

ROOT = Path(eventbus.__file__).parent.parent
PROGRAM = Path(__file__).with_name("killed.py")


class Ledger:
    """What the program was promised, over all its lives."""

    def __init__(self) -> None:
        self.sent: defaultdict[str, set[str]] = defaultdict(set)
        """By queue: what must be there, or have been consumed."""
        self.tried: defaultdict[str, set[str]] = defaultdict(set)
        self.settled: defaultdict[str, set[str]] = defaultdict(set)
        self.maybe: defaultdict[str, set[str]] = defaultdict(set)
        """What may have been settled."""
        self.rows: set[tuple[str, str]] = set()
        self.tried_rows: set[tuple[str, str]] = set()
        self.once: dict[str, int] = {}
        """The offsets of messages that are sent again and again."""

    def read(self, lines: list[bytes]) -> None:
        for line in lines:
            if not line.endswith(b"\n"):
                break  # it was killed in the middle of this
            fact, *rest = json.loads(line)
            assert fact != "error", rest
            if fact in ("try", "sent"):
                name, bodies = rest[:2]
                if name == "once" and fact == "sent":
                    assert self.once.setdefault(bodies[0]["id"], rest[2][0]) == rest[2][0], "it entered twice"
                book = self.sent if fact == "sent" else self.tried
                for queue in ("odd", "all") if name.startswith("orders.") else (name,):
                    book[queue].update(b["id"] for b in bodies if queue != "odd" or b["parity"] == "odd")
            elif fact == "settled":
                self.settled[rest[0]].update(rest[1])
            elif fact == "row":
                self.rows.add((rest[0], rest[1]))
                self.settled[rest[0]].add(rest[1])
            elif fact.startswith("try"):
                self.maybe[rest[0]].add(rest[1])
                if fact == "try row":
                    self.tried_rows.add((rest[0], rest[1]))


def live_and_die(path: Path, seed: int, seconds: float) -> list[bytes]:
    """Run the program, and kill it that many seconds after it is ready: what it said."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), str(seed)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        assert lines == [b'["ready"]\n']
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        lines += process.stdout.readlines()
        timer.join()
    return lines


def look(path: Path, ledger: Ledger) -> None:
    """What is in the journal agrees with what was promised."""
    bus = blocking.Bus(journal=path)
    queues = declare(bus)
    with bus:
        check(bus)
        left = {name: drain(bus, queue) for name, queue in queues.items()}
        dead = Counter((letter.message.deaths[-1].queue, letter.body["id"]) for letter in drain(bus, bus.dead_letters))
        rows: Counter[tuple[str, str]] = Counter((queue, id) for queue, id in bus.query("SELECT queue, id FROM done"))
        out = Counter(delivery.body["id"] for delivery in left.pop("out"))
        check(bus)
    assert max(rows.values(), default=1) == 1, "a transaction took effect twice"
    assert set(ledger.rows) <= set(rows) <= ledger.tried_rows
    assert out == Counter(id for _, id in rows), "half a transaction"
    assert max(dead.values(), default=1) == 1, "a message died twice"
    for name, deliveries in left.items():
        ids = [delivery.body["id"] for delivery in deliveries]
        here = set(ids)
        assert len(ids) == len(here), f"{name}: a message is there twice"
        gone = {id for queue, id in [*rows, *dead] if queue == name}
        assert not here & gone, f"{name}: what became a row or a dead letter is there too"
        assert not here & ledger.settled[name], f"{name}: what was settled durably came back"
        assert ledger.sent[name] <= here | gone | ledger.maybe[name], f"{name}: something is lost"
        assert here <= ledger.tried[name], f"{name}: something was made up"
        check_order(name, deliveries)


def drain(bus: blocking.Bus, queue: Any) -> list[Any]:
    """All that is in a queue, in the order in which it comes."""
    found: list[Any] = []
    while True:
        stats = queue.stats()
        if not stats.ready + stats.delayed:
            return found
        for _ in range(stats.ready + stats.delayed):
            found.append(queue.get(timeout=30))
            found[-1].ack()
        bus._engine.check()


def check_order(name: str, deliveries: list[Any]) -> None:
    """By offset; by priority; by offset in each lane. What was delayed comes when it is due."""
    on_time = [d for d in deliveries if not d.body["later"]]
    if name in ("lanes", "keys"):
        for key in "abcdef":
            offsets = [d.offset for d in on_time if d.key == key]
            assert offsets == sorted(offsets)
        return
    places = [(-d.message.priority if name in ("ranks", "all") else 0, d.offset) for d in on_time if d.attempt == 1]
    assert places == sorted(places)


def test_what_was_promised_survives_kills(tmp_path: Path, thorough: bool) -> None:
    chance = random.Random(None if thorough else 7)
    for series in range(50 if thorough else 1):
        path = tmp_path / f"{series}.db"
        ledger = Ledger()
        for life in range(20):
            ledger.read(live_and_die(path, life, chance.random() ** 2 * 0.5))
            copy = copied(path, tmp_path / f"{series}-{life}.db")  # the next life finds it as the crash left it
            assert is_sound(copied(copy, tmp_path / "sound.db"))
            look(copy, ledger)
            for file in tmp_path.glob(f"{series}-*"):
                file.unlink()


def copied(path: Path, copy: Path) -> Path:
    """A journal, as a crash left it."""
    for end in ("", "-wal"):
        target = copy.with_name(copy.name + end)
        target.unlink(missing_ok=True)
        source = path.with_name(path.name + end)
        if source.exists():
            target.write_bytes(source.read_bytes())
    return copy
