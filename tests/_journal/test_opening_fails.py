"""A journal that cannot be opened: the bus says so, and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventbus
from eventbus import JournalLockedError, blocking


def test_a_bus_in_threads_whose_journal_is_taken_says_so(tmp_path: Path) -> None:
    with blocking.Bus(tmp_path / "j.db"):
        second = blocking.Bus(tmp_path / "j.db")
        with pytest.raises(JournalLockedError), second:
            pass
        second.close()


@pytest.mark.anyio
async def test_a_bus_whose_journal_is_taken_says_so(tmp_path: Path) -> None:
    async with eventbus.Bus(tmp_path / "j.db"):
        second = eventbus.Bus(tmp_path / "j.db")
        with pytest.raises(JournalLockedError):
            await second.__aenter__()
        await second.aclose()
