"""The inspection's parts, where the command line alone does not show them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from eventbus import EARLIEST, FullError, Journal, Sync, blocking
from eventbus._journal.log import Log
from eventbus.inspection import loading, moments, output, progress
from eventbus.inspection.command import app
from eventbus.inspection.following import follow
from eventbus.inspection.forms import body_of
from eventbus.inspection.moments import age, size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def run(*words: object, input: bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], input=input)


@pytest.mark.anyio
async def test_following_sees_each_commit_once_and_tells_when_nothing_more_is_there(path: Path) -> None:
    with blocking.Bus(Journal(path, sync=Sync.OFF)) as bus:
        topic = bus.topic("t")
        topic.publish(1)
        with Log(str(path), (), body_of) as log:
            coming = follow(log, 0, moments.test_of("body != 2"))
            seen = []
            with anyio.fail_after(20):
                for number in (2, 3):
                    while (stored := await anext(coming)) is not None:
                        seen.append(stored.record[2])
                    topic.publish(number)
                while 3 not in seen:
                    if (stored := await anext(coming)) is not None:
                        seen.append(stored.record[2])
            await coming.aclose()
    assert seen == [1, 3]


def test_nothing_beyond_the_place_where_reading_ends_is_read(path: Path) -> None:
    with blocking.Bus(Journal(path, sync=Sync.OFF)) as bus:
        bus.topic("t").publish_many(list(range(600)))
    with Log(str(path), (), body_of) as log:
        assert len(list(log.read(0, 550))) == 550
        assert list(log.read(550, 550)) == []
        assert list(log.read_back(0)) == []


def test_on_a_terminal_a_bar_shows_how_far_long_work_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=100))
    lines = b'{"body": 1}\n' * 12_000
    assert run("load", path, "--create", "--topic", "t", input=lines).exit_code == 0
    assert run("export", path, "-o", path.with_name("out")).exit_code == 0
    assert run("replay", path).exit_code == 0
    assert run("verify", path).exit_code == 0
    assert run("compact", path).exit_code == 0
    for what in ("bytes", "messages", "offsets", "steps"):
        assert what in screen.getvalue()


def test_an_interrupt_ends_with_130_and_a_closed_pipe_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(typer.Exit) as ended, output.endings():
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    monkeypatch.setattr(output.os, "dup2", lambda *_: None)
    with pytest.raises(typer.Exit) as ended, output.endings():
        raise BrokenPipeError
    assert ended.value.exit_code == 0
    with pytest.raises(typer.Exit) as ended, output.endings():
        raise FullError("q", 1)
    assert ended.value.exit_code == 1


def test_a_redrive_that_gets_on_slowly_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with blocking.Bus(Journal(path, sync=Sync.OFF)) as bus:
        bus.queue("q").put_many(list(range(300)))
        for delivery in bus.queue("q").get_many(300):
            delivery.reject("no")
    told = []
    monkeypatch.setattr(loading, "PATIENCE", 0.02)
    done = loading.redrive(str(path), "dead-letters", None, None, 300, lambda *facts: told.append(facts))
    if done.why is None:  # on a disk that is slow enough, nothing is moved in time
        assert done.count == 300
    assert all(limit == 300 for _, limit in told)


def test_a_compaction_of_a_damaged_journal_says_so(path: Path) -> None:
    with blocking.Bus(Journal(path, sync=Sync.OFF)) as bus:
        queue = bus.queue("q")
        queue.put_many(["x" * 1000] * 200)
        queue.get_many(200).ack()
        queue.put("y")
    data = bytearray(path.read_bytes())
    place = data.rindex(b"x" * 900)
    start = place - place % 4096
    data[start : start + 4096] = bytes(4096)
    path.write_bytes(data)
    result = run("compact", path)
    assert result.exit_code in (1, 2)
    assert result.stderr


def test_spans_and_sizes_are_short() -> None:
    assert [age(s) for s in (None, -1, 5, 200, 8_000, 200_000)] == ["-", "0 s", "5 s", "3 min", "2 h", "2 d"]
    assert [size(n) for n in (5, 2048, 3 << 20, 5 << 30)] == ["5 bytes", "2.0 kB", "3.0 MB", "5.0 GB"]


def test_json_of_a_loaded_line_is_what_it_was(path: Path) -> None:
    assert run("load", path, "--create", "--queue", "q", input=b'{"body": {"n": 1.10}}\n').exit_code == 0
    assert json.loads(run("replay", path, "q").stdout)["body"] == {"n": 1.1}


def test_of_a_subscription_only_what_its_filter_lets_through_is_shown(path: Path) -> None:
    with blocking.Bus(Journal(path, sync=Sync.OFF)) as bus:
        bus.topic("t").publish_many([1, 2, 3])
        bus.subscription("late", "t", where="body != 2", start=EARLIEST)
    with Log(str(path), ("late",), body_of) as log:
        assert [stored.record[2] for stored in log.read(0, 100)] == [1, 3]
