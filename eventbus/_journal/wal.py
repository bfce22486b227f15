"""The log to which SQLite adds what is committed, before that is moved into the file.

To overwrite a part of a file and sync it costs about half of what it costs to make the file longer and sync it, since
then the file system has to commit the new length as well. SQLite overwrites its log from the start once it was moved
into the file, but until then makes it longer with every commit. So the log is made longer ahead of that, by zeros,
which are no frames to SQLite: those have the salt of the log's head. PostgreSQL fills its log with zeros for the same
reason.

SQLite locks the file and its index, never the log, so opening and closing that here takes no lock from it.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import Final

__all__ = ["Wal"]

AHEAD: Final = 1 << 20
"""Bytes by which it is made longer."""

NEAR: Final = 1 << 18
"""So many bytes before its end."""

HEAD: Final = 32
FRAME_HEAD: Final = 24
"""Bytes of the log's and of each frame's head, as https://sqlite.org/walformat.html has it."""


class Wal:
    """The log of one journal, beside its connection."""

    def __init__(self, path: str, ahead: bool) -> None:
        self.path = f"{path}-wal"
        self.ahead = ahead
        """Whether commits are synced, so that it pays."""
        self.file: io.FileIO | None = None
        self.size = 0
        """Its length, of which SQLite may have used little by now."""

    def look(self) -> None:
        """After a commit: make it longer if its end is near."""
        with suppress(OSError):  # it is not there; or the disk is full, which the next commit will say
            if self.file is None:
                self.file = io.FileIO(self.path, "r+")
            self.size = os.fstat(self.file.fileno()).st_size
            if self.ahead and (self.size < NEAR or self.reaches(self.size - NEAR)):
                self.file.seek(self.size)
                self.size += self.file.write(bytes(AHEAD))

    def reaches(self, place: int) -> bool:
        """Whether a frame of what is in the log by now stands at this place, or about there."""
        if self.file is None:
            return False
        try:
            self.file.seek(0)
            head = self.file.read(HEAD)
            size = FRAME_HEAD + int.from_bytes(head[8:12], "big")
            self.file.seek(HEAD + place // size * size)
            return self.file.read(FRAME_HEAD)[8:16] == head[16:24] != b""
        except OSError:  # which SQLite will say, if it is so bad
            return False

    def close(self) -> None:
        """Let go of it, before SQLite deletes it."""
        if self.file is not None:
            self.file.close()
            self.file = None
