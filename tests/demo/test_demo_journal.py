"""The demo on a journal: killed at any moment and started again, it handles every order."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

from eventbus import blocking
from eventbus.demo import command, shop
from eventbus.demo.command import app
from eventbus.demo.history import History
from eventbus.demo.ledger import Ledger, Step
from eventbus.demo.messages import PAID, PLACED, SHIPPED, Order

ROOT = Path(shop.__file__).parent.parent.parent


def demo(*words: object) -> Any:
    return CliRunner().invoke(app, ["demo", *map(str, words)])


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def published(journal: Path) -> int:
    """How many orders the killed run has published so far, as another process sees it."""
    if not journal.exists():
        return 0
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT orders FROM shop_input").fetchone()[0])
        except (sqlite3.OperationalError, TypeError):  # it has only just begun
            return 0


def kill_after(orders: int, journal: Path, *words: str) -> None:
    """Start it, and kill it once so many orders were published."""
    command = [sys.executable, "-m", "eventbus", "demo", "--journal", str(journal), *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT) as process:
        while published(journal) < orders:
            assert process.poll() is None, process.stderr and process.stderr.read()
            threading.Event().wait(0.005)
        process.kill()
        assert process.wait(20) == -signal.SIGKILL


def test_a_run_that_is_killed_again_and_again_handles_every_order(journal: Path) -> None:
    words = ("--orders", "2500", "--seed", "3")
    for orders in (1, 1_000, 2_000):
        kill_after(orders, journal, *words)
    result = demo("--journal", journal, *words, "--json")
    assert result.exit_code == 0, result.stderr
    table = json.loads(result.stdout)
    assert table["unaccounted"] == []
    assert table["resumed"] >= 2_000
    assert table["recovered"] > 0
    assert all(row["in"] == row["acked"] + row["dead"] for row in table["queues"])
    with blocking.Bus(journal) as bus:
        numbers = [message.body["number"] for message in bus.topic(PLACED).replay()]
        assert numbers == list(range(1, 2_501))  # each once, in order
        assert {message.body["number"] for message in bus.topic(SHIPPED).replay()} <= set(numbers)


def test_a_run_goes_on_and_says_what_it_took_over(journal: Path) -> None:
    kill_after(500, journal, "--orders", "1200")
    result = demo("--journal", journal, "--orders", "1200")
    assert result.exit_code == 0, result.stderr
    assert "went on after " in result.stdout
    assert "0 bad lines, 0 unaccounted for" in result.stdout


def test_after_a_finished_run_nothing_is_left_to_do(journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text("".join(f'{{"id": "A-{n}", "customer": "c", "total": {n}}}\n' for n in range(300)))
    first = demo("--journal", journal, "--input", file)
    assert first.exit_code == 0
    assert "300 orders in" in first.stdout
    again = demo("--journal", journal, "--input", file)
    assert again.exit_code == 0
    assert "nothing was left to do: all 300 orders were handled before" in again.stdout


def test_another_input_is_refused(journal: Path) -> None:
    assert demo("--journal", journal, "--orders", "10").exit_code == 0
    result = demo("--journal", journal, "--orders", "20")
    assert result.exit_code == 2
    assert "begun with --orders 10 --seed 0, not with --orders 20 --seed 0" in result.stderr


def test_a_journal_that_cannot_be_used_is_named(journal: Path) -> None:
    with blocking.Bus(journal):
        result = demo("--journal", journal, "--orders", "10")
    assert result.exit_code == 2
    assert f"open in process {os.getpid()}" in result.stderr
    journal.write_bytes(b"no journal" * 100)
    assert demo("--journal", journal, "--orders", "10").exit_code == 1


def test_ctrl_c_says_how_to_go_on(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()

    monkeypatch.setattr(command, "run", interrupted)
    result = demo("--journal", journal)
    assert result.exit_code == 130
    assert "start it again with the same words to go on" in result.stderr


def order(number: int, declined: bool = False) -> Order:
    return Order(number, f"A-{number}", "c", 10.0, declined=declined)


def test_the_ledger_counts_steps_of_earlier_orders_apart() -> None:
    ledger = Ledger()
    ledger.before = 1
    ledger.note(Step.PACKED, order(1))
    ledger.note(Step.PACKED, order(1))
    assert (ledger.recovered, list(ledger.unaccounted())) == (2, [])


def test_what_the_journal_lacks_or_has_too_often_is_told() -> None:
    history = History(3)
    for topic in (PLACED, PAID, SHIPPED, PAID):
        history.add(topic, order(1))
    history.add(PLACED, order(2, declined=True))
    history.add(PLACED, order(3))
    assert history.again == 1
    assert list(history.unaccounted()) == ["order 3 is kept by ['orders.placed'], and is not declined"]
    history.add(PLACED, order(1))
    history.add(PLACED, order(4))
    history.add(PAID, order(2, declined=True))
    told = list(history.unaccounted())
    assert told[0].endswith("was published twice")
    assert told[1].endswith("was never published, but is in 'orders.placed'")
    assert told[2] == "order 2 is kept by ['orders.placed', 'orders.paid'], and is declined"
