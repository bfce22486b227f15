"""A journal whose file is deleted or replaced while it is open breaks down, rather than write to what nobody finds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eventbus import ClosedError, Journal, JournalError, Sync, blocking
from eventbus._journal import writer
from eventbus._journal.place import Place

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="what is open cannot be deleted there")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.db"


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    with blocking.Bus(other) as bus:
        bus.queue("q").put("other")
    other.replace(path)


@pytest.mark.parametrize("lose", [Path.unlink, replace], ids=["deleted", "replaced"])
def test_the_next_commit_finds_out(path: Path, lose: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "IDLE", 60)
    with blocking.Bus(Journal(path, sync=Sync.OFF)) as bus:
        queue = bus.queue("q")
        queue.put(1)
        lose(path)
        with pytest.raises(JournalError, match="deleted or replaced while it was open"):
            queue.put(2)
        assert bus._engine.closed
        with pytest.raises(ClosedError, match="deleted or replaced"):
            queue.put(3)
    if lose is replace:  # which the log of the lost one has not spoilt
        with blocking.Bus(path) as bus:
            assert [message.body for message in bus.queue("q").peek(5)] in (["other"], [])
            assert bus.queue("q").get(timeout=20).body == "other"


def test_the_end_says_so_at_the_latest(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "IDLE", 60)
    with blocking.Bus(Journal(path, sync=Sync.OFF)) as bus:
        bus.queue("q").put(1)
        path.unlink()
    assert "deleted or replaced while it was open" in caplog.text


def test_what_cannot_be_looked_at_may_be_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    place = Place(str(path))
    assert not place.is_left()

    def stat(_: object) -> os.stat_result:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        assert not place.is_left()
    path.rename(path.with_name("elsewhere"))
    assert place.is_left()
