"""One journal has one owner, and what is not ours is left as it is."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import eventbus
from eventbus import JournalCorruptError, JournalError, JournalLockedError, blocking
from eventbus._journal import ownership
from eventbus._journal.schema import APPLICATION_ID, VERSION
from tests.kit.journals import writer_of

ROOT = Path(eventbus.__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def made(path: Path) -> Path:
    """A journal with one message."""
    with blocking.Bus(journal=path) as bus:
        bus.queue("jobs").put({"n": 1})
    return path


def run(code: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    """A program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ends(process: subprocess.Popen[str]) -> str:
    """Let it go on, to its end: what it said."""
    out, _ = process.communicate("go\n", timeout=60)
    assert process.returncode == 0
    return out.strip()


HOLD = """
    import sys
    from eventbus import blocking
    with blocking.Bus(journal=sys.argv[1]) as bus:
        bus.queue("jobs").put({"n": 2})
        print("open", flush=True)
        sys.stdin.readline()
"""


def test_a_second_process_is_refused_with_the_number_of_the_first(path: Path) -> None:
    owner = run(HOLD, path)
    assert says(owner) == "open"
    with pytest.raises(JournalLockedError, match=f"open in process {owner.pid}") as caught, blocking.Bus(journal=path):
        pass
    assert caught.value.pid == owner.pid
    assert caught.value.path == str(path)
    ends(owner)
    with blocking.Bus(journal=path) as bus:
        assert bus.queue("jobs").get(timeout=30).body == {"n": 2}


def test_an_owner_that_was_killed_has_let_go(path: Path) -> None:
    owner = run(HOLD, path)
    assert says(owner) == "open"
    owner.kill()
    owner.communicate(timeout=60)
    with blocking.Bus(journal=path) as bus:
        assert bus.queue("jobs").get(timeout=30).body == {"n": 2}


def test_a_second_bus_in_the_same_process_is_refused(path: Path) -> None:
    with blocking.Bus(journal=path) as bus:
        with pytest.raises(JournalLockedError) as caught, blocking.Bus(journal=path):
            pass
        assert caught.value.pid == os.getpid()
        bus.queue("jobs").put(1)
    made(path)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_async_face_is_refused_just_so(path: Path, anyio_backend: str) -> None:
    async with eventbus.Bus(journal=path):
        with pytest.raises(JournalLockedError):
            async with eventbus.Bus(journal=path):
                pass


def test_an_owner_whose_number_cannot_be_read_is_another_process(path: Path) -> None:
    with blocking.Bus(journal=path):
        Path(f"{path}-lock").write_text("")
        with pytest.raises(JournalLockedError, match="another process") as caught, blocking.Bus(journal=path):
            pass
        assert caught.value.pid is None


def test_the_lock_is_taken_even_where_its_number_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", full)
        lock = ownership.Ownership(str(path), Path(f"{path}-lock"))
    with pytest.raises(JournalLockedError):
        ownership.Ownership(str(path), Path(f"{path}-lock"))
    lock.release()
    lock.release()
    ownership.Ownership(str(path), Path(f"{path}-lock")).release()


def test_its_files_are_their_owners_alone(path: Path) -> None:
    was = os.umask(0)
    try:
        with blocking.Bus(journal=path) as bus:
            bus.queue("jobs").put(1)
            for name in (path, f"{path}-wal", f"{path}-lock"):
                assert os.stat(name).st_mode & 0o777 == 0o600
    finally:
        os.umask(was)


def refused(path: object, match: str, kind: type[JournalError] = JournalError) -> None:
    """Opening says why not, and neither that nor the end hangs."""
    with pytest.raises(kind, match=match), blocking.Bus(journal=path):  # type: ignore[arg-type]
        pass


def test_a_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(made(path))
    refused(link, "symbolic link")
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    refused(link, "symbolic link")
    assert not (tmp_path / "nowhere").exists()


def test_a_lock_that_is_a_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    Path(f"{path}-lock").symlink_to(tmp_path / "other")
    refused(path, "the lock of journal")
    assert not (tmp_path / "other").exists()


def test_a_directory_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "name a file that this process may write")


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none" / "shop.db", "the lock of journal")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused(path: Path) -> None:
    os.mkfifo(path)
    refused(path, "not a regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    refused(folder / "shop.db", "the lock of journal")


@pytest.mark.parametrize("content", [b"x", b"to do: milk, eggs\n" * 20], ids=["short", "long"])
def test_a_file_that_is_no_database_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, "is not a journal: it is no SQLite file.*; name the file", JournalCorruptError)
    assert path.read_bytes() == content


def test_the_head_of_a_database_alone_is_no_database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(200))
    refused(path, "is not a journal: it is no SQLite file", JournalCorruptError)


@pytest.mark.skipif(sys.platform == "win32", reason="SQLite says otherwise there")
def test_what_stands_in_the_place_of_the_log_is_no_damage(path: Path) -> None:
    Path(f"{path}-wal").mkdir()
    refused(path, "cannot be opened: .*; look whether this process may read it and what stands beside it")
    with pytest.raises(JournalError) as caught, blocking.Bus(journal=path):
        pass
    assert not isinstance(caught.value, JournalCorruptError)


def foreign(path: Path, *pragmas: str) -> bytes:
    """Somebody else's database, with something in its log that is not in the file yet: the bytes of both."""
    base = path.with_name("base.db")
    connection = sqlite3.connect(base, isolation_level=None)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE things (x)")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("INSERT INTO things VALUES (1)")
    for end in ("", "-wal"):
        path.with_name(path.name + end).write_bytes(base.with_name(base.name + end).read_bytes())
    connection.close()
    return both(path)


def both(path: Path) -> bytes:
    return path.read_bytes() + path.with_name(path.name + "-wal").read_bytes()


@pytest.mark.parametrize("pragmas", [(), ("application_id = 77",), ("user_version = 3",)], ids=str)
def test_a_database_of_another_application_is_left_as_it_is(path: Path, pragmas: tuple[str, ...]) -> None:
    before = foreign(path, *pragmas)
    refused(path, "another application")
    assert both(path) == before


def test_a_database_of_another_application_that_is_only_in_its_log_is_refused(path: Path) -> None:
    base = path.with_name("base.db")
    connection = sqlite3.connect(base, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE things (x)")
    for end in ("", "-wal"):
        path.with_name(path.name + end).write_bytes(base.with_name(base.name + end).read_bytes())
    connection.close()
    refused(path, "another application")


def test_a_journal_of_a_later_version_is_left_as_it_is(path: Path) -> None:
    before = foreign(path, f"application_id = {APPLICATION_ID}", f"user_version = {VERSION + 1}")
    refused(path, f"has format {VERSION + 1}.*open it with a newer version")
    assert both(path) == before


def test_a_file_that_is_empty_becomes_a_journal(path: Path) -> None:
    path.touch()
    made(path)


def test_a_name_that_sqlite_has_a_meaning_for_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (":memory:", "file:shop.db", "what?mode=memory"):
        made(Path(name))
        with blocking.Bus(journal=name) as bus:
            assert bus.queue("jobs").get(timeout=30).body == {"n": 1}


def test_a_bus_stays_with_its_file_wherever_the_process_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("here", "there", "yonder"):
        (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    bus = blocking.Bus(journal="shop.db")
    monkeypatch.chdir(tmp_path / "there")
    with bus:
        bus.topic("orders").publish({"n": 1})
        monkeypatch.chdir(tmp_path / "yonder")
        assert [message.body for message in bus.topic("orders").replay()] == [{"n": 1}]
        assert bus.query("SELECT 1") == [(1,)]
        bus.topic("orders").publish({"n": 2})
    assert {path.name for path in tmp_path.rglob("*.db*")} == {"shop.db", "shop.db-lock"}
    assert all(path.parent.name == "here" for path in tmp_path.rglob("*.db*"))


def test_a_bus_that_could_not_be_opened_is_closed_and_another_opens(path: Path) -> None:
    with blocking.Bus(journal=path):
        second = blocking.Bus(journal=path)
        with pytest.raises(JournalLockedError):
            second.__enter__()
        second.close()
        second.close()
        with pytest.raises(eventbus.ClosedError):
            second.queue("jobs").put(1)
    made(path)


# forks

FORK = """
    import os, sys
    from eventbus import ClosedError, blocking
    bus = blocking.Bus(journal=sys.argv[1]).__enter__()
    queue = bus.queue("jobs")
    queue.put({"n": 1})
    list(bus.replay("none"))
    come, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(go)
        for call in (lambda: queue.put({"n": 2}), queue.get, lambda: bus.topic("x").publish(1), bus.flush):
            try:
                call()
            except ClosedError as error:
                assert "forked" in str(error), error
            else:
                assert call == bus.flush
        bus.close()
        print("dead", flush=True)
        os.read(come, 1)
        if sys.argv[2] == "hard":
            os._exit(0)
        sys.exit(0)
    os.close(come)
    queue.put({"n": 3})
    sys.stdin.readline()
    bus.close()
    print("closed", flush=True)
    sys.stdin.readline()
    os.close(go)
    assert os.waitpid(child, 0)[1] == 0
    print("gone", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("end", ["hard", "soft"])
def test_in_a_forked_child_the_bus_is_dead_and_holds_nothing(path: Path, end: str) -> None:
    parent = run(FORK, path, end)
    assert parent.stdin is not None
    assert says(parent) == "dead"
    with pytest.raises(JournalLockedError) as caught, blocking.Bus(journal=path):
        pass
    assert caught.value.pid == parent.pid
    parent.stdin.write("go\n")
    parent.stdin.flush()
    assert says(parent) == "closed"
    with blocking.Bus(journal=path) as bus:  # the child lives
        queue = bus.queue("jobs")
        assert [queue.get(timeout=30).body for _ in range(2)] == [{"n": 1}, {"n": 3}]
        queue.put({"n": 4})
        assert ends(parent) == "gone"
        queue.put({"n": 5})
    with blocking.Bus(journal=path) as bus:
        queue = bus.queue("jobs")
        assert [queue.get(timeout=30).body["n"] for _ in range(4)] == [1, 3, 4, 5]
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_the_thread_cannot_be_started_when_the_interpreter_ends(path: Path) -> None:
    bus = blocking.Bus(journal=path)
    writer_of(bus).start = lambda *facts: None
    with pytest.raises(JournalError, match="no thread"):
        bus.__enter__()
    bus.close()
