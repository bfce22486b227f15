"""One owner: a file beside the journal that its owner has locked, for as long as its process lives.

The lock is the system's own (`flock`, on Windows that of the C library), so it ends with the process however that ends.
The number of the owner's process stands in the file, for people.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from eventbus.errors import JournalError, JournalLockedError

__all__ = ["Ownership", "owner_of"]


class Ownership:
    """The lock of one journal, taken when it is made."""

    def __init__(self, path: str, lock_path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            self.descriptor = os.open(lock_path, flags, 0o600)
        except OSError as error:
            raise JournalError(f"the lock of journal {path!r} cannot be opened: {error}") from error
        if not _locked_soon(self.descriptor):
            pid = _owner(self.descriptor)
            self.release()
            raise JournalLockedError(path, pid)
        with suppress(OSError):  # a full disk: the number is for people only
            os.ftruncate(self.descriptor, 0)
            os.write(self.descriptor, str(os.getpid()).encode())

    def release(self) -> None:
        """It is free for others. Twice is harmless; so is a forked child's, whose parent keeps the lock."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def owner_of(lock_path: Path) -> int | None:
    """The number of the process that has a journal, 0 if that is not known; None if no process has it."""
    try:
        descriptor = os.open(lock_path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        return None if _locked(descriptor) else _owner(descriptor) or 0
    finally:
        os.close(descriptor)


def _locked_soon(descriptor: int) -> bool:
    """Whether it is ours. Who only looks, as `owner_of` does, has it for a moment."""
    for _ in range(LOOKS):
        if _locked(descriptor):
            return True
        threading.Event().wait(0.005)
    return False


LOOKS = 3


def _owner(descriptor: int) -> int | None:
    try:
        return int(os.read(descriptor, 32))
    except (OSError, ValueError):
        return None


if sys.platform == "win32":  # pragma: no cover  # the other system's way
    import msvcrt

    FAR = 1 << 30
    """Windows locks a part of a file, which then nobody else can read: one far beyond the number."""

    def _locked(descriptor: int) -> bool:
        os.lseek(descriptor, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _locked(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
