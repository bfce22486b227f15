"""What makes a bus durable: the file, and how sure a commit is to be."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Journal", "Sync"]


class Sync(enum.Enum):
    """What a publish that has returned survives. The values are those of SQLite's ``PRAGMA synchronous``."""

    FULL = "FULL"
    """The loss of power: every commit waits until the disk has it."""
    NORMAL = "NORMAL"
    """The end of the process, however it ends. The loss of power may take the last commits, and nothing before them."""
    OFF = "OFF"
    """The end of the process. The loss of power may damage the file."""


def _path(value: Any) -> str:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise TypeError(f"Journal.path takes the path of a file, but got {value!r}")
    path = os.fsdecode(os.fspath(value))
    if "\0" in path:
        raise ValueError(f"Journal.path takes the path of a file, which has no null character, but got {value!r}")
    return path


def _is_sync(journal: Journal, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Sync):
        raise TypeError(f"Journal.sync takes a Sync, but got {value!r}; for instance Sync.FULL")


@attrs.frozen
class Journal:
    """A SQLite file in which a bus keeps its messages: ``Bus(journal=Journal("shop.db", sync=Sync.NORMAL))``.

    ``path`` alone may be given to the bus in its place. The file is made if it is not there, readable by its owner
    alone; beside it stand SQLite's own ``-wal`` and ``-shm`` and a ``-lock``, which tells whose it is.
    """

    path: str = attrs.field(converter=_path)
    sync: Sync = attrs.field(default=Sync.FULL, validator=_is_sync)

    @property
    def lock_path(self) -> Path:
        """The file that its owner has locked."""
        return Path(self.path + "-lock")
