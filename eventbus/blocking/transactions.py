"""Transactions as threads hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from eventbus._faces.transaction import TransactionFace
from eventbus.blocking.waits import Timeout, check_timeout, cross

if TYPE_CHECKING:
    from eventbus.blocking.bus import Bus

__all__ = ["Transaction"]


class Transaction(TransactionFace):
    """Publishes, puts and acks that take effect together or not at all, to be entered with ``with``.

    They gather inside the block. When it ends, all of them take effect in one step that nobody sees half done; an
    exception inside discards them. Leaving waits until every queue that waits when full has room for all that goes to
    it, at most ``timeout`` seconds; until then nothing has happened. `FullError` if one that fails when full has no
    room, or what goes to one could never fit into it; `SettlementError` if a delivery is not out any more. It is for
    one thread, and entered once.
    """

    def __init__(self, bus: Bus, timeout: Timeout) -> None:
        super().__init__(bus)
        check_timeout(timeout)
        self._timeout = timeout

    def __enter__(self) -> Transaction:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        commit = self._end(error)
        if commit is not None:
            cross(self._bus._threads, commit, self._timeout)

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        """Execute a statement on tables of your own in the journal's file, when the block ends.

        It is one commit with what the transaction publishes and acks. If it fails then, `JournalError` says why, and
        nothing of the transaction has happened. The journal's own tables, ``eventbus_...``, are closed to it.
        """
        self._execute(sql, parameters)
