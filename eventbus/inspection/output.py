"""What is printed, and how a command ends: 0 well, 1 something is wrong with the data, 2 it was asked wrongly."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

import typer

from eventbus.errors import DeclarationError, EventBusError, FilterError, JournalCorruptError, JournalError

__all__ = ["WRONG", "WRONG_DATA", "Output", "endings", "printable", "say", "stop"]

WRONG_DATA = 1
WRONG = 2


class Output:
    """Lines for a file, or for standard output as it is by now."""

    def __init__(self, path: str | None = None) -> None:
        self._file: BinaryIO | None = None if path is None else Path(path).open("wb")  # noqa: SIM115

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        else:
            sys.stdout.flush()

    @property
    def hidden(self) -> bool:
        """Whether what is written here is not on a terminal."""
        return self._file is not None or not sys.stdout.isatty()

    def write(self, line: bytes) -> None:
        """One line."""
        (self._file or sys.stdout.buffer).write(line + b"\n")

    def flush(self) -> None:
        """Let them be seen."""
        (self._file or sys.stdout.buffer).flush()


def say(text: str) -> None:
    """Tell people, beside what is printed for programs."""
    print(text, file=sys.stderr, flush=True)


def stop(text: str, status: int) -> NoReturn:
    """Say why, and end."""
    say(text)
    raise typer.Exit(status)


@contextmanager
def endings() -> Iterator[None]:
    """Here, an error ends the command in words and with its status."""
    try:
        yield
    except BrokenPipeError:  # as `| head` does; what the interpreter flushes at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except JournalCorruptError as error:
        stop(str(error), WRONG_DATA)
    except (JournalError, FilterError, DeclarationError) as error:
        stop(str(error), WRONG)
    except EventBusError as error:
        stop(str(error), WRONG_DATA)
    except OSError as error:
        stop(f"cannot use {error.filename}: {error.strerror}", WRONG)


def printable(text: str) -> str:
    """A text that does nothing to a terminal but stand there."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
