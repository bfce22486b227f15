"""The program that the kill loop kills: it works on a journal under load, and says what it was promised.

    python killed.py JOURNAL SEED

Every line it writes is a fact, as JSON: ["sent", queue, bodies], ["settled", queue, body], ["row", body].
What it is about to do stands in a line before, beginning with "try": of that nobody knows. The order of lines is that
of events in each thread.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

from eventbus import Backoff, Fifo, Keyed, Policy, Priority, Retry, blocking

__all__ = ["declare"]

ORDERS = {"fifo": Fifo(), "ranks": Priority(), "lanes": Keyed(partitions=4), "keys": Keyed()}
RETRY = Retry(3, Backoff(0.001, jitter=0.0))


def declare(bus: blocking.Bus) -> dict[str, Any]:
    """The queues of the program."""
    queues: dict[str, Any] = {name: bus.queue(name, Policy(order, retry=RETRY)) for name, order in ORDERS.items()}
    queues["once"] = bus.queue("once", Policy(retry=RETRY, dedup=3_600))
    queues["odd"] = bus.subscription("odd", "orders.*", Policy(retry=RETRY), where="body.parity == 'odd'")
    queues["all"] = bus.subscription("all", "#", Policy(Priority(), retry=RETRY))
    queues["out"] = bus.queue("out")
    return queues


def say(*facts: Any) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")  # one write, so that threads do not mix


def publish(bus: blocking.Bus, queues: dict[str, Any], random: random.Random, own: int) -> None:
    n = 0
    while True:
        n += 1
        name = random.choice([*ORDERS, "orders.new", "orders.old", "once"])
        key = random.choice("abcdef")
        priority = random.randrange(3)
        many = random.randrange(6) == 0
        delay = 0.005 if random.randrange(8) == 0 and not many else None
        bodies = [
            {"id": f"{own}-{n}-{i}", "parity": "odd" if n % 2 else "even", "later": delay is not None}
            for i in range(random.randrange(1, 20) if many else 1)
        ]
        if name == "once":
            publish_once(queues[name], random)
            continue
        to: Any = queues[name] if name in ORDERS else bus.topic(name)
        say("try", name, bodies)
        if many:
            send = to.put_many if name in ORDERS else to.publish_many
            offsets = send(bodies, key=key, priority=priority)
        else:
            send = to.put if name in ORDERS else to.publish
            offsets = [send(bodies[0], key=key, priority=priority, delay=delay)]
        say("sent", name, bodies, offsets)


def publish_once(queue: Any, random: random.Random) -> None:
    """One of a few messages, which may have been sent before, in whichever life."""
    id = f"once-{random.randrange(400)}"
    bodies = [{"id": id, "parity": "even", "later": False}]
    say("try", "once", bodies)
    say("sent", "once", bodies, [queue.put(bodies[0], id=id)])


def consume(bus: blocking.Bus, queues: dict[str, Any], random: random.Random, name: str) -> None:
    acked: list[str] = []
    with queues[name].consume(prefetch=random.choice([1, 8])) as consumer:
        for delivery in consumer:
            say("took", name, delivery.body["id"], delivery.offset, delivery.attempt)
            choice = random.randrange(20)
            if choice == 0:
                delivery.nack(error="again")
            elif choice == 1:
                delivery.release()
            elif choice == 2:
                say("try reject", name, delivery.body["id"])
                delivery.reject("no")
            elif choice < 6:
                say("try row", name, delivery.body["id"])
                with bus.transaction() as tx:
                    tx.execute("INSERT INTO done VALUES (?, ?)", (name, delivery.body["id"]))
                    tx.put(queues["out"], delivery.body)
                    tx.ack(delivery)
                say("row", name, delivery.body["id"])
            else:
                say("try ack", name, delivery.body["id"])
                delivery.ack()
                acked.append(delivery.body["id"])
                if len(acked) > 20:
                    bus.flush()
                    say("settled", name, acked)
                    acked = []


def main(path: str, seed: int) -> None:
    bus = blocking.Bus(journal=path)
    queues = declare(bus)
    bus.__enter__()
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE IF NOT EXISTS done (queue TEXT, id TEXT)")
    say("ready")

    def work(call: Callable[..., None], *facts: Any) -> None:
        try:
            call(bus, queues, *facts)
        except BaseException as error:
            say("error", repr(error))
            raise

    threads = [
        threading.Thread(target=work, args=(publish, random.Random(f"{seed} {own}"), own * 1000 + seed))
        for own in range(2)
    ]
    threads += [
        threading.Thread(target=work, args=(consume, random.Random(f"{seed} {name}"), name))
        for name in queues
        if name != "out"
    ]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
