"""When nothing is due, the process sleeps, however much is scheduled: its threads hardly ever wake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="it counts how often a thread goes to sleep")

MANY = 20_000

FEW = 10
"""How often all threads together may go to sleep while nothing is due; whatever polls does it far more often."""

TASKS = """
import resource, sys
import anyio
from eventbus import Bus, Policy

def sleeps():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

async def main(journal, many):
    async with Bus(journal, drain=0.0) as bus:
        stored = bus.queue("stored", Policy(lease=3_600.0))
        queue = bus.queue("orders", Policy(capacity=None, ttl=1e6, durable=False))
        bus.topic("events").on()(lambda body: None)
        for number in range(many):
            await queue.put(number, delay=3_600.0 + number)
        await stored.put("lent")
        lent = await stored.get()
        async with anyio.create_task_group() as group:
            group.start_soon(queue.get)
            await bus.flush()
            await anyio.sleep(0.5)  # until the journal has tidied up
            before = sleeps()
            await anyio.sleep(0.5)
            print(sleeps() - before, queue.stats().delayed)
            group.cancel_scope.cancel()

anyio.run(main, sys.argv[1], int(sys.argv[2]), backend=sys.argv[3])
"""

THREADS = """
import resource, sys, time
from eventbus import Policy
from eventbus.blocking import Bus

def sleeps():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

with Bus(sys.argv[1], drain=0.0) as bus:
    stored = bus.queue("stored", Policy(lease=3_600.0))
    queue = bus.queue("orders", Policy(capacity=None, ttl=1e6, durable=False))
    bus.topic("events").on()(lambda body: None)
    for number in range(int(sys.argv[2])):
        queue.put(number, delay=3_600.0 + number)
    stored.put("lent")
    lent = stored.get()
    queue.handle(lambda body: None)
    bus.flush()
    time.sleep(0.5)
    before = sleeps()
    time.sleep(0.5)
    print(sleeps() - before, queue.stats().delayed)
"""


@pytest.mark.parametrize("face", ["asyncio", "trio", "blocking"])
def test_while_nothing_is_due_nobody_wakes(face: str, tmp_path: Path) -> None:
    program = THREADS if face == "blocking" else TASKS
    command = [sys.executable, "-c", program, str(tmp_path / "j.db"), str(MANY), face]
    woken, delayed = map(int, subprocess.check_output(command, text=True, stderr=subprocess.STDOUT, timeout=60).split())
    assert delayed == MANY
    assert woken <= FEW
