"""What is printed, and how a command ends: 0 well, 1 something is wrong with the data, 2 it was asked wrongly."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

import typer

from eventbus.errors import DeclarationError, EventBusError, FilterError, JournalCorruptError, JournalError

__all__ = ["WRONG", "WRONG_DATA", "Output", "counted", "endings", "printable", "say", "shown", "stop"]

WRONG_DATA = 1
WRONG = 2


class Output:
    """Lines for a file, or for standard output as it is by now.

    A regular file gets them when all of them are written, so that a command that fails leaves it as it was; a device, a
    pipe or a link is written to directly. The journal that is read, and what stands beside it, is refused.
    """

    def __init__(self, path: str | None = None, journal: str = "") -> None:
        self.path = path
        self.part: Path | None = None
        """Where it is written until all of it is."""
        with self._named():
            if path is None:
                if sys.stdout is None:
                    raise OSError(errno.EBADF, "it is closed")
                self._file: BinaryIO = sys.stdout.buffer
                return
            if _is_of(journal, path):
                stop(f"{path} belongs to the journal itself, which would be lost; name another file", WRONG)
            target = Path(path)
            if _is_replaced(target):
                if target.exists():
                    target.open("r+b").close()  # it may be written at all
                self.part = target.with_name(f".{os.getpid()}.part")
            self._file = (self.part or target).open("wb")

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._named():
            if self.path is None:
                self._file.flush()
                return
            try:
                self._file.close()
                if kind is None and self.part is not None:
                    if Path(self.path).exists():
                        shutil.copymode(self.path, self.part)
                    self.part.replace(self.path)
            finally:
                if self.part is not None:
                    self.part.unlink(missing_ok=True)

    @property
    def hidden(self) -> bool:
        """Whether what is written here is not on a terminal."""
        return not self._file.isatty()

    def write(self, line: bytes) -> None:
        """One line."""
        with self._named():
            self._file.write(line + b"\n")

    def flush(self) -> None:
        """Let them be seen."""
        with self._named():
            self._file.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Here, an error tells what could not be written."""
        try:
            yield
        except OSError as error:
            error.filename = self.path
            raise


def _is_replaced(target: Path) -> bool:
    """Whether it is a regular file, or is to become one. /dev/stdout is a link, wherever that leads."""
    try:
        return stat.S_ISREG(target.lstat().st_mode)
    except FileNotFoundError:
        return True


def _is_of(journal: str, path: str) -> bool:
    """Whether this is the journal, or a file that belongs to it, by whatever name."""
    own = [f"{os.path.realpath(journal)}{end}" for end in ("", "-wal", "-shm", "-lock", "-journal")]
    if os.path.realpath(path) in own:
        return True
    return os.path.exists(path) and any(os.path.exists(one) and os.path.samefile(one, path) for one in own)


def say(text: str) -> None:
    """Tell people, beside what is printed for programs."""
    if sys.stderr is not None:  # else print() would take standard output
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
    except BrokenPipeError:  # as `| head` does
        let_go_of_stdout()
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
        if error.filename is None:
            let_go_of_stdout()
        stop(f"cannot use {error.filename or 'standard output'}: {error.strerror}", WRONG)


def let_go_of_stdout() -> None:
    """What the interpreter flushes at its end goes nowhere."""
    if sys.stdout is not None:
        with suppress(OSError):  # it is none of the system's
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shown(path: str) -> str:
    """A file's name as text that can be written, whatever the locale takes its bytes for."""
    return os.fsencode(path).decode(errors="backslashreplace")


def counted(count: int, what: str) -> str:
    """So many of something."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """A text that does nothing to a terminal but stand there."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
