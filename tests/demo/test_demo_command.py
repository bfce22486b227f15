"""The demo as its users meet it: exit statuses, bad input, the table for people and for programs."""

from __future__ import annotations

import io
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from rich.console import Console
from typer.testing import CliRunner

from eventbus import Bus
from eventbus.demo import command, progress, shop
from eventbus.demo.command import app
from eventbus.demo.input import open_input
from eventbus.demo.ledger import Ledger, Step
from eventbus.demo.messages import Order
from eventbus.demo.report import unconserved

GOOD = '{"id": "A-%d", "customer": "c-%d", "total": %s}'


def demo(*words: str, input: bytes | None = None) -> Any:
    return CliRunner().invoke(app, ["demo", *words], input=input)


def lines_of(count: int) -> str:
    return "\n".join(GOOD % (number, number % 3, number * 30) for number in range(count))


def test_a_run_accounts_for_every_order() -> None:
    result = demo("--orders", "700")
    assert result.exit_code == 0
    assert "700 orders in" in result.stdout
    assert "0 bad lines, 0 unaccounted for" in result.stdout
    assert "orders.placed/billing" in result.stdout


def test_the_table_for_programs_is_json_and_nothing_else() -> None:
    result = demo("--orders", "600", "--json")
    table = json.loads(result.stdout)
    assert (table["orders"], table["bad_lines"], table["unaccounted"]) == (600, 0, [])
    kinds = {row["queue"]: row["kind"] for row in table["queues"]}
    assert kinds["parcels"] == "queue"
    assert kinds["audit"] == "subscription"
    assert set(table["queues"][0]) == {
        "queue",
        "kind",
        "in",
        "acked",
        "redelivered",
        "dead",
        "most waiting",
        "messages/s",
    }


def test_mail_that_fails_is_tried_again_and_what_died_of_it_is_put_back_and_sent() -> None:
    table = json.loads(demo("--orders", "1000", "--json").stdout)
    rows = {row["queue"]: row for row in table["queues"]}
    mailing, unsent, parcels = rows["orders.shipped/mailing"], rows["unsent"], rows["parcels"]
    assert unsent["in"] == mailing["dead"] > 0
    assert mailing["redelivered"] > 2 * unsent["in"]  # twice each of these, and those that fail less often
    assert mailing["acked"] == parcels["acked"]
    assert table["unaccounted"] == []


def test_the_same_seed_gives_the_same_run() -> None:
    def counts(seed: str) -> list[tuple[Any, ...]]:
        table = json.loads(demo("--orders", "500", "--seed", seed, "--json").stdout)
        return [(row["queue"], row["in"], row["acked"], row["dead"]) for row in table["queues"]]

    assert counts("7") == counts("7")
    assert counts("7") != counts("8")


def test_no_orders_at_all_are_accounted_for_too() -> None:
    assert demo("--orders", "0").exit_code == 0
    assert demo("--input", "-", input=b"").exit_code == 0


def test_bad_lines_are_named_and_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = GOOD.encode() % (1, 1, b"5")
    bad = [
        (b"nonsense", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "takes a JSON object"),
        (b'{"customer": "c", "total": 1}', '"id" is missing'),
        (b'{"id": "", "customer": "c", "total": 1}', "not empty"),
        (b'{"id": 5, "customer": "c", "total": 1}', '"id" takes a string'),
        (b'{"id": "a", "customer": "c", "total": -1}', "at least 0"),
        (b'{"id": "a", "customer": "c", "total": true}', "takes a number"),
        (b'{"id": "a", "customer": "c", "total": NaN}', "NaN is no number"),
        (b'{"id": "a", "customer": "c", "total": 1, "express": "yes"}', "true or false"),
        (b'{"id": "\\ud800", "customer": "c", "total": 1}', "Unicode"),
        (b"[" * 100_000, "nested too deep"),
        (b"x" * (1 << 20) + b"x", "longer than"),
    ]
    file = tmp_path / "orders.jsonl"
    file.write_bytes(b"\n".join([good, b"", *(line for line, _ in bad), good]))
    result = demo("--input", str(file))
    assert result.exit_code == 0
    said = result.stderr.splitlines()
    for number, (line, (_, reason)) in enumerate(zip(said, bad, strict=True), 3):
        assert line.startswith(f"line {number}: ")
        assert reason in line
    assert "2 orders in" in result.stdout
    assert f"{len(bad)} bad lines, 0 unaccounted for" in result.stdout


def test_standard_input_is_read() -> None:
    result = demo("--input", "-", "--json", input=lines_of(20).encode())
    assert json.loads(result.stdout)["orders"] == 20


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_what_cannot_be_read_is_named_and_ends_with_2(name: str, tmp_path: Path) -> None:
    result = demo("--input", str(tmp_path / name))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"cannot read {tmp_path / name}: ")


def test_an_order_unaccounted_for_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "unconserved", lambda name, stats: f"queue {name!r} leaks")
    result = demo("--orders", "10")
    assert result.exit_code == 1
    assert "queue 'audit' leaks" in result.stderr


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()

    monkeypatch.setattr(command, "run", interrupted)
    result = demo("--orders", "10")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def order(number: int, total: float = 10.0, customer: str = "c", **fields: bool) -> Order:
    return Order(number, f"A-{number}", customer, total, fields.get("express", False), fields.get("declined", False))


def test_a_step_that_never_came_is_told() -> None:
    ledger = Ledger()
    ledger.open([order(1)])
    ledger.note(Step.BILLED, order(1))
    assert [text for text in ledger.unaccounted() if "was never delivered nor mailed nor packed" in text]


def test_a_step_that_came_twice_is_told() -> None:
    ledger = Ledger()
    ledger.open([order(1)])
    for _ in range(1_500):
        ledger.note(Step.PACKED, order(1))
    told = list(ledger.unaccounted())
    assert "came twice" in told[0]
    assert any("499 more surprises" in text for text in told)


def test_customers_billed_out_of_order_are_told() -> None:
    ledger = Ledger()
    ledger.open([order(1), order(2), order(3, customer="other")])
    ledger.note(Step.BILLED, order(3, customer="other"))
    ledger.note(Step.BILLED, order(2))
    assert any("was billed before order 1 of the same customer" in text for text in ledger.unaccounted())


def test_messages_that_do_not_add_up_are_told() -> None:
    bus = Bus()
    queue = bus.queue("q")
    queue.put_nowait(1)
    stats = queue.stats()
    assert unconserved("q", stats) == "queue 'q': 1 messages are left"
    assert unconserved("q", attrs.evolve(stats, acked=1)) == "queue 'q': 1 came in, but 2 are accounted for"


PYTHON = [sys.executable, "-m", "eventbus"]
ROOT = Path(shop.__file__).parent.parent.parent


def test_a_closed_pipe_leaves_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PYTHON, "demo", "--orders", "50"], stdout=writer, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_in_the_middle_ends_with_130() -> None:
    words = [*PYTHON, "demo", "--orders", "1000000000"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stderr is not None
        assert b"10,000 orders read" in process.stderr.readline()  # it is under way
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(20) == 130, said
    assert b"interrupted" in said
    assert b"Traceback" not in said


def test_without_its_extra_the_command_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "eventbus.demo.command")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("eventbus", run_name="__main__")
    assert ended.value.code == 2
    assert "eventbus[cli]" in capsys.readouterr().err


def test_another_module_that_is_missing_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "eventbus.demo.command")
    monkeypatch.setitem(sys.modules, "eventbus.demo.shop", None)
    with pytest.raises(ModuleNotFoundError, match="shop"):
        runpy.run_module("eventbus", run_name="__main__")


def test_without_words_it_shows_its_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["eventbus"])
    with pytest.raises(SystemExit):
        runpy.run_module("eventbus", run_name="__main__")
    assert "demo" in capsys.readouterr().out


def test_on_a_terminal_a_bar_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=100))
    file = tmp_path / "orders.jsonl"
    file.write_text(lines_of(5) + "\nnonsense")
    assert demo("--input", str(file)).exit_code == 0
    assert "line 6: not JSON" in screen.getvalue()
    assert demo("--orders", "500").exit_code == 0
    assert "500/500" in screen.getvalue()


def test_a_closed_standard_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(OSError, match="it is closed"):
        open_input("-", print)
