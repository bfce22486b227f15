"""Making a journal as small as it can be: all that may be deleted at once, and no hole left in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus._journal.writer import Run

if TYPE_CHECKING:
    from eventbus._journal.writer import Writer

__all__ = ["Compaction"]


class Compaction(Run):
    """What its owner does in place of serving a bus. `look` is called after each step."""

    def __init__(self, writer: Writer, look: Callable[[], None]) -> None:
        super().__init__(writer)
        self.look = look

    def run(self) -> None:
        """Do it, in this thread; what goes wrong is raised."""
        try:
            self._open()
            try:
                while self._tidy():
                    self.look()
                self.connection.execute("VACUUM")
            except sqlite3.Error as error:
                raise self._told(error) from error
            finally:
                self._finish()
        finally:
            self._release()
