"""The power fails: what the disk had not yet is gone, and what remains is what was at some commit, whole."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from eventbus import Journal, Keyed, Policy, Priority, Sync, blocking
from tests.kit.journals import check, drain, is_sound, writer_of

FRAME_HEAD, LOG_HEAD, PAGE = 24, 32, 4096

State = dict[str, list[int]]


def declare(bus: blocking.Bus) -> dict[str, Any]:
    topic = bus.topic("orders")
    return {
        "fifo": bus.queue("fifo"),
        "lanes": bus.queue("lanes", Policy(Keyed())),
        "all": topic.subscription("all", Policy(Priority())),
        "big": topic.subscription("big", where="body >= 20"),
    }


def tell(path: Path) -> list[State]:
    """A program whose every step is a commit of its own: what was there after each. Its files are left in `path`."""
    bus = blocking.Bus(journal=path)
    queues = declare(bus)
    topic = bus.topic("orders")
    left: State = {name: [] for name in (*queues, "rows")}
    states = [{name: list(bodies) for name, bodies in left.items()}]

    def note() -> None:
        states.append({name: sorted(bodies) for name, bodies in left.items()})

    with bus:
        writer_of(bus).run._tidy = lambda: False  # so that all of it stays in the log
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE rows (n INTEGER)")
        for n in range(30):
            queues["fifo"].put(n)
            left["fifo"].append(n)
            note()
            queues["lanes"].put(n, key=str(n % 3))
            left["lanes"].append(n)
            note()
            topic.publish(n)
            left["all"].append(n)
            if n >= 20:
                left["big"].append(n)
            note()
            if n % 3 == 2:
                delivery = queues["fifo"].get(timeout=30)
                with bus.transaction() as tx:
                    tx.execute("INSERT INTO rows VALUES (?)", (delivery.body,))
                    tx.put(queues["lanes"], 100 + n, key="x")
                    tx.ack(delivery)
                left["fifo"].remove(delivery.body)
                left["lanes"].append(100 + n)
                left["rows"].append(delivery.body)
                note()
            if n % 5 == 4:
                with queues["all"].get(timeout=30) as delivery:
                    left["all"].remove(delivery.body)
                bus.flush()
                note()
        bus.flush()
        path.with_name("power.db").write_bytes(path.read_bytes())
        path.with_name("power.db-wal").write_bytes(frames_of(Path(f"{path}-wal").read_bytes()))
    return states


def frames_of(log: bytes) -> bytes:
    """A log without the zeros behind it: no frame is of page 0."""
    end = LOG_HEAD
    while any(log[end : end + 4]):
        end += FRAME_HEAD + PAGE
    return log[:end]


def found_in(path: Path) -> State:
    bus = blocking.Bus(journal=path)
    queues = declare(bus)
    with bus:
        check(bus)
        left = {name: sorted(body for _, body in drain(queue)) for name, queue in queues.items()}
        made = bus.query("SELECT count(*) FROM sqlite_master WHERE name = 'rows'")[0][0]
        left["rows"] = [n for (n,) in bus.query("SELECT n FROM rows ORDER BY n")] if made else []
        check(bus)
    return left


def test_a_log_that_was_cut_has_what_was_at_some_commit(tmp_path: Path, thorough: bool) -> None:
    states = tell(tmp_path / "shop.db")
    base, log = ((tmp_path / f"power.db{end}").read_bytes() for end in ("", "-wal"))
    frame = FRAME_HEAD + PAGE
    frames = (len(log) - LOG_HEAD) // frame
    assert frames > 100
    chance = random.Random(3)
    sizes = {LOG_HEAD + frame * n for n in (range(frames + 1) if thorough else range(0, frames + 1, 5))}
    sizes |= {chance.randrange(len(log)) for _ in range(1000 if thorough else 40)} | {0, len(log)}
    reached = 0
    for size in sorted(sizes):
        path = tmp_path / "cut.db"
        for old in tmp_path.glob("cut.db*"):
            old.unlink()
        path.write_bytes(base)
        tail = chance.choice([b"", bytes(3 * frame), chance.randbytes(2 * frame)])  # what the disk has instead
        Path(f"{path}-wal").write_bytes(log[:size] + (b"" if size == len(log) else tail))
        left = found_in(path)
        assert left in states, f"half a commit, cut at {size}"
        now = len(states) - 1 - states[::-1].index(left)
        assert now >= reached, "a longer log has less in it"
        reached = states.index(left)
        assert is_sound(path)
    assert left == states[-1]


@pytest.mark.parametrize(("sync", "level"), [(Sync.FULL, 2), (Sync.NORMAL, 1), (Sync.OFF, 0)])
def test_how_sure_a_commit_is(tmp_path: Path, sync: Sync, level: int) -> None:
    with blocking.Bus(journal=Journal(tmp_path / "shop.db", sync)) as bus:
        bus.queue("jobs").put(1)
        connection = writer_of(bus).run.connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
