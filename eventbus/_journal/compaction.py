"""Making a journal as small as it can be: all that may be deleted at once, and no hole left in the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus._journal.statements import TROUBLE
from eventbus._journal.writer import Run
from eventbus.errors import JournalError

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
                self._compact()
                self._finish()
            finally:
                self.connection.close()
        finally:
            self._release()

    def _compact(self) -> None:
        while self._tidy():
            self.look()
        if self.outbox.broken is not None:
            raise JournalError(self.outbox.broken)
        try:
            self.connection.execute("VACUUM")
        except TROUBLE as error:
            raise self._told(error) from error
