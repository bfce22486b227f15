"""Makes `golden.db`, a journal with something of everything; run it once for each version of the file's format.

    python -m tests._journal.make_golden

The file is never made anew for a format that has been released: it is there to show that later versions read it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from eventbus import EARLIEST, Backoff, Fifo, Keyed, Policy, Priority, Retention, Retry, blocking
from tests.kit.clock import ManualClock

__all__ = ["BODIES", "GOLDEN", "NOW", "declare", "make"]

GOLDEN = Path(__file__).with_name("golden.db")
NOW = 1_800_000_000.0

EURO = "größer als 1 €"
BODIES: dict[int, Any] = {
    **{1 + n: {"n": n, "text": EURO} for n in range(6)},
    7: {"n": 2, "text": EURO},  # the dead letter
    8: {"n": 6},
    9: {"n": 7},
    **{10 + n: n for n in range(4)},
    **{14 + n: [n, 1.5, None, True] for n in range(5)},
    **{19 + n: {"n": n} for n in range(5)},
    24: "news",
    25: "once",
    26: "once too",
}

RETRY = Retry(3, Backoff(60.0, jitter=0.0))


def declare(bus: blocking.Bus) -> dict[str, Any]:
    """All that the program knows of, by name."""
    return {
        "jobs": bus.queue("jobs", Policy(Fifo(), retry=RETRY)),
        "ranks": bus.queue("ranks", Policy(Priority(), retry=RETRY)),
        "lanes": bus.queue("lanes", Policy(Keyed(partitions=4), retry=RETRY)),
        "orders": bus.topic("orders", retain=Retention(count=1000)),
        "orders/eu": bus.topic("orders").subscription("eu", where="headers['region'] == 'EU'"),
        "all": bus.subscription("all", ["orders", "other.*"], Policy(Priority()), start=EARLIEST),
        "odd": bus.subscription("odd", "orders", where=lambda message: message.body["n"] % 2 == 1),
        "once": bus.queue("once", Policy(dedup=86_400)),
        "ticks": bus.topic("ticks", dedup=86_400),
        "dead-letters": bus.dead_letters,
    }


def make(path: Path) -> None:
    bus = blocking.Bus(journal=path, clock=ManualClock(NOW))
    things = declare(bus)
    with bus:
        jobs = things["jobs"]
        for n in range(6):
            jobs.put({"n": n, "text": EURO})
        first, second, third = (jobs.get() for _ in range(3))
        second.ack()
        first.nack(error="ValueError: not yet", delay=3600)
        third.reject("never")
        jobs.put({"n": 6}, delay=7200)
        jobs.put({"n": 7}, ttl=86_400, id="seven", headers={"a": [1, 2], "b": None})
        for n in range(4):
            things["ranks"].put(n, priority=n % 2)
        for n, key in enumerate(["a", "b", b"\xff\x00", None, "a"]):
            things["lanes"].put([n, 1.5, None, True], key=key)
        for n in range(5):
            things["orders"].publish({"n": n}, key=f"k{n}", headers={"region": "EU" if n < 2 else "US"})
        bus.topic("other.new").publish("news")
        things["orders/eu"].get().ack()
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY, what TEXT)")
            tx.execute("INSERT INTO invoices (what) VALUES (?)", ("one",))
            tx.ack(things["ranks"].get())
        things["once"].put("once", id="a")
        things["once"].get().ack()
        things["ticks"].publish("once too", id="a")
        bus.flush()


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN)
