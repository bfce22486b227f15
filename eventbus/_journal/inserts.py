"""Rows of messages on their way into the table: many with one statement, in the order in which they came.

A statement for each row costs three times as much, most of it outside SQLite; and what is mostly NULL need not be bound
for every row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from eventbus._journal.rows import PLAIN, WHOLE

__all__ = ["Inserts"]

MARKS: Final = {WHOLE: "(?, ?, ?, ?, ?, ?, ?, ?, ?)", PLAIN: "(?, ?, ?, ?, ?, NULL, NULL, 0, NULL)"}
"""A row of so many values."""

STEPS: Final = (64, 16, 4, 1)
"""So many rows have a statement."""

STATEMENTS: Final = {
    width: [(rows * width, f"INSERT INTO eventbus_messages VALUES {', '.join([marks] * rows)}") for rows in STEPS]
    for width, marks in MARKS.items()
}


class Inserts:
    """The rows of one commit."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, list[Any]]] = []
        """The values of rows of equal width that follow each other."""

    def add(self, width: int, values: Sequence[Any]) -> None:
        """Rows of this width, one after another."""
        if not self.runs or self.runs[-1][0] != width:
            self.runs.append((width, []))
        self.runs[-1][1].extend(values)

    def last(self) -> int:
        """The offset of the last row, or 0."""
        if not self.runs:
            return 0
        width, values = self.runs[-1]
        offset: int = values[-width]
        return offset

    def write(self, connection: sqlite3.Connection) -> None:
        """Insert all of them."""
        for width, values in self.runs:
            start = 0
            for size, statement in STATEMENTS[width]:
                while len(values) - start >= size:
                    connection.execute(statement, values[start : start + size])
                    start += size
        self.clear()

    def clear(self) -> None:
        """Forget them."""
        self.runs.clear()
