"""Whether a journal's path still leads to the file that was opened.

SQLite goes on writing to a file that was deleted or replaced, and nobody will find what stands there. On Windows a file
that is open cannot be deleted. SQLite itself compares the same numbers before it deletes a log.
"""

from __future__ import annotations

import os

__all__ = ["Place"]


class Place:
    """Where the file of one journal is, from when it was opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.number = _number_of(path)

    def is_left(self) -> bool:
        """Whether nothing, or another file, is there now. What cannot be looked at just now may be there."""
        try:
            return _number_of(self.path) != self.number
        except FileNotFoundError:
            return True
        except OSError:
            return False


def _number_of(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
