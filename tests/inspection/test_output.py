"""Where the journal's command line writes to: never over what is there before all is well, and never over a journal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import eventbus
from eventbus import Journal, Policy, Sync, blocking
from eventbus.inspection import command, output
from eventbus.inspection.command import app
from tests.kit import ManualClock

ROOT = Path(eventbus.__file__).parent.parent
ON_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="as a POSIX shell has it")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with bus_of(path) as bus:
        topic = bus.topic("t")
        topic.publish(1, key="é")
        topic.publish(2, key=b"\xff")
    return path


def bus_of(path: Path, **options: Any) -> blocking.Bus:
    return blocking.Bus(Journal(path, sync=Sync.OFF), **options)


def run(*words: object, input: bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], input=input)


def in_shell(text: str, *words: object, **options: Any) -> tuple[int, bytes, bytes]:
    """What a shell makes of it: status, output and errors. "$0" is the command, "$@" are the words."""
    python = f"{sys.executable} -m eventbus journal"
    done = subprocess.run(
        ["sh", "-c", text.replace("JOURNAL", python), "sh", *map(os.fsencode, map(str, words))],
        capture_output=True,
        cwd=ROOT,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def bodies(text: bytes | str) -> list[Any]:
    return [json.loads(line)["body"] for line in text.splitlines()]


# the journal itself


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-lock"])
def test_the_journal_and_what_belongs_to_it_is_never_written_over(path: Path, end: str) -> None:
    with bus_of(path) as bus:
        bus.topic("t").publish(3)
        own = Path(f"{path}{end}")
        assert own.exists()
        before = own.stat().st_size
        result = run("export", path, "-o", own)
        assert result.exit_code == 2
        assert "belongs to the journal itself" in result.stderr
        assert own.stat().st_size == before
        bus.topic("t").publish(4)
    assert bodies(run("replay", path).stdout) == [1, 2, 3, 4]


def test_a_log_that_is_not_there_now_is_refused_as_well(path: Path) -> None:
    assert run("export", path, "-o", f"{path}-wal").exit_code == 2
    assert run("replay", path).exit_code == 0


@ON_POSIX
def test_the_journal_is_known_by_every_name(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    hard, soft = tmp_path / "hard", tmp_path / "soft"
    hard.hardlink_to(path)
    soft.symlink_to(path)
    (tmp_path / "dir").mkdir()
    for one, other in ((path, hard), (path, soft), (soft, path), (path, tmp_path / "dir" / ".." / "shop.db")):
        result = run("export", one, "-o", other)
        assert (result.exit_code, path.read_bytes()) == (2, before), other
        assert "belongs to the journal itself" in result.stderr


# what was there before


def test_a_failed_export_leaves_the_old_file(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "precious.txt"
    out.write_text("precious")
    assert run("export", tmp_path / "missing.db", "-o", out).exit_code == 2
    assert out.read_text() == "precious"

    def line_of(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "line_of", line_of)
        assert run("export", path, "-o", out).exit_code == 130
    assert out.read_text() == "precious"
    files = {file.name for file in tmp_path.iterdir()}
    out.chmod(0o640)
    assert run("export", path, "-o", out).exit_code == 0
    assert bodies(out.read_bytes()) == [1, 2]
    assert out.stat().st_mode & 0o777 == 0o640 or sys.platform == "win32"
    assert {file.name for file in tmp_path.iterdir()} == files, "nothing is left beside it"


@ON_POSIX
def test_what_is_no_regular_file_is_written_directly(path: Path, tmp_path: Path) -> None:
    assert run("export", path, "-o", os.devnull).exit_code == 0
    assert not Path(os.devnull).is_file()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    assert run("export", path, "-o", link).exit_code == 0
    assert link.is_symlink()
    assert bodies(link.read_bytes()) == [1, 2]
    status, out, _ = in_shell('JOURNAL export "$@" -o /dev/stdout | cat', path)
    assert (status, bodies(out)) == (0, [1, 2])
    assert run("export", path, "-o", tmp_path).exit_code == 2


# where nothing can be written


@ON_POSIX
@pytest.mark.parametrize("words", ["replay", "tail", "info", "verify", "export"])
def test_a_closed_standard_output_is_named(path: Path, words: str) -> None:
    assert in_shell(f'JOURNAL {words} "$@" >&-', path) == (2, b"", b"cannot use standard output: it is closed\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize(("words", "name"), [
    ("export FILE > /dev/full", "standard output"),
    ("info FILE > /dev/full", "standard output"),
    ("compact FILE > /dev/full", "standard output"),
    ("export FILE -o /dev/full", "/dev/full"),
], ids=str)  # fmt: skip
def test_a_full_device_is_named(path: Path, words: str, name: str) -> None:
    status, out, said = in_shell("JOURNAL " + words.replace("FILE", '"$@"'), path)
    assert (status, out, said.splitlines()[-1]) == (2, b"", f"cannot use {name}: No space left on device".encode())


@ON_POSIX
def test_what_is_said_to_people_stays_out_of_the_output_even_if_nobody_can_hear_it(path: Path) -> None:
    status, out, _ = in_shell('JOURNAL export "$@" 2>&-', path)
    assert (status, bodies(out)) == (0, [1, 2])


def test_a_stdout_that_is_not_there_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.sys, "stdout", None)
    output.let_go_of_stdout()


# names and keys in other bytes


@ON_POSIX
@pytest.mark.parametrize("mode", ["0", "1"])
def test_names_and_keys_in_any_bytes_are_shown_and_taken_in_any_locale(path: Path, mode: str) -> None:
    environ = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": mode, "PYTHONCOERCECLOCALE": "0"}
    named = path.with_name("é.db")
    path.rename(named)
    for words in ("info", "info --json", "verify", "verify --json"):
        status, out, said = in_shell(f'JOURNAL {words} "$@"', named, env=environ)
        assert (status, said) == (0, b"")
        assert "é.db" in (json.loads(out)["path"] if "--json" in words else out.decode())
    status, out, _ = in_shell('JOURNAL export --format cloudevents "$@"', named, env=environ)
    assert json.loads(out.splitlines()[0])["source"] == "%C3%A9.db"
    for key, found in (("é", [1]), ("\udcff", [2]), ("\udcfe", [])):
        status, out, _ = in_shell('JOURNAL replay "$1" --key "$2"', named, key, env=environ)
        assert (status, bodies(out)) == (0, found)


# what no calendar has


def commands_of(path: Path, words: Sequence[str]) -> Any:
    result = run(*words[:1], path, *words[1:])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_an_expiry_beyond_all_calendars_is_never(tmp_path: Path) -> None:
    path = tmp_path / "far.db"
    with bus_of(path) as bus:
        bus.topic("far").publish(1, ttl=1e300)
        bus.queue("q", Policy(ttl=1e300)).put(2, delay=1e300)
    for words in (("replay", "#"), ("tail", "#", "--json"), ("export", "#")):
        first, _ = (json.loads(line) for line in commands_of(path, words).splitlines())
        assert first["expires"] is None
    assert json.loads(commands_of(path, ("info", "--json")))["queues"][0]["later"] == 1
    commands_of(path, ("info",))
    commands_of(path, ("verify",))


def test_a_time_beyond_all_calendars_is_shown_as_well(tmp_path: Path) -> None:
    path = tmp_path / "far.db"
    clock = ManualClock()
    clock.advance(1e15)
    with bus_of(path, clock=clock) as bus:
        bus.topic("far").publish(1)
    assert json.loads(commands_of(path, ("replay",)))["time"] is None
    assert "never" in commands_of(path, ("tail",))
    assert json.loads(commands_of(path, ("info", "--json")))["topics"][0]["oldest"] is None
    commands_of(path, ("info",))
    commands_of(path, ("export", "--format", "cloudevents"))
