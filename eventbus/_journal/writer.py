"""The thread that writes: it takes all that has gathered, commits once, lets it take effect, and begins anew.

It alone has the connection that writes; SQLite before 3.51.3 can damage a log that two connections write and
checkpoint. Acks alone wait a moment for company, since nobody waits for them. When nothing comes, it tidies up: it
deletes what is settled and what retentions let go, in small steps, and moves the log into the file, so that no commit
has to do that on the way.

What fails, fails those who wait for it. A full disk is an error like any other, and the next commit may succeed; an
I/O error or a damaged file breaks the journal down, since nobody knows any more what was written.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from eventbus._core.changes import Sought
from eventbus._core.errands import run_errands
from eventbus._core.outbox import Haul, Outbox
from eventbus._core.posting import Posting
from eventbus._journal.ownership import Ownership
from eventbus._journal.pages import Decoder, Pages
from eventbus._journal.place import Place
from eventbus._journal.recovery import Recovery
from eventbus._journal.routes import Routes
from eventbus._journal.schema import connect
from eventbus._journal.seeking import Seeking
from eventbus._journal.statements import GRAVE, LAST, MENDABLE, TROUBLE, code_of
from eventbus._journal.store import Store
from eventbus._journal.tidying import Tidying
from eventbus._journal.wal import Wal
from eventbus.durability import Journal, Sync
from eventbus.errors import JournalCorruptError, JournalError

if TYPE_CHECKING:
    from eventbus._core.depot import Depot
    from eventbus._core.engine import Engine

__all__ = ["Writer"]

PAUSE: Final = 0.005
"""Seconds that acks wait for company."""

IDLE: Final = 0.1
"""Seconds without a commit after which it tidies up."""

Start = Callable[..., "threading.Thread | None"]

logger = logging.getLogger("eventbus")


class Bell:
    """What tells the writer that there is something to write; as an errand, it rings.

    A lock that is held, and released to ring: a third of what an Event costs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def run(self) -> None:
        """Ring it; once is enough."""
        try:  # noqa: SIM105  # `suppress` costs more than to ring
            self._lock.release()
        except RuntimeError:  # it rang already
            pass

    def heard(self, seconds: float = -1.0) -> bool:
        """Whether it rang since it was last heard, or does so within so many seconds; without them, it will."""
        return self._lock.acquire(True, seconds)


class Writer:
    """The owner of one journal, from when it is opened until it is closed."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        decode: Decoder,
        look: Callable[[], float],
        start: Start,
        connect: Callable[..., sqlite3.Connection] = connect,
    ) -> None:
        self.engine = engine
        self.journal = journal
        self.decode = decode
        self.look = look
        """Looks at the clocks, and gives the time of day."""
        self.start = start
        self.connect = connect
        self.bell = Bell()
        engine.outbox = self.outbox = Outbox(engine, self.bell, self.bell)
        self.outbox.forget = self.forget
        self.outbox.is_writer = self.is_here
        self.opening = Posting()
        self.closing = Posting()
        self.ends = False
        """Whether it is to close."""
        self.thread: threading.Thread | None = None
        self.ident: int | None = None
        """Of the thread, while it runs: then another may get it."""
        self.ownership: Ownership | None = None
        self.run = Run(self)

    def open(self) -> Posting:
        """Begin to open the journal: what to wait for."""
        if self.thread is None:
            self.thread = self.start("eventbus-journal", self.run.serve)
            if self.thread is None:
                raise JournalError(
                    f"journal {self.journal.path!r} has no thread, since the interpreter ends; enter the bus before"
                )
        return self.opening

    def close(self) -> Posting | None:
        """Have all written that is to be, and the file closed: what to wait for, if it was open."""
        if self.thread is None:
            return None
        self.ends = True
        self.bell.run()
        return self.closing

    def is_here(self) -> bool:
        """Whether this is the thread that writes."""
        return threading.get_ident() == self.ident

    def forget(self) -> None:
        """In a forked child: the journal is the parent's. Its connection is left alone, and its lock let go of."""
        self.thread = self.ident = None
        self.outbox.open = False
        if self.ownership is not None:
            self.ownership.release()


class Run:
    """What the thread does."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.engine = writer.engine
        self.outbox = writer.outbox
        self.path = writer.journal.path
        self.wal = Wal(self.path, writer.journal.sync is Sync.FULL)

    def serve(self) -> None:
        """What the thread is started with."""
        self.writer.ident = threading.get_ident()
        try:
            self._live()
        finally:
            self.writer.ident = None

    def _live(self) -> None:
        """Until the bus is closed."""
        try:
            self._open()
        except BaseException as error:
            self._release()
            self._end(self.writer.opening, error)
            self._end(self.writer.closing, None)
            return
        self._end(self.writer.opening, None)
        try:
            self._serve()
        except BaseException as error:
            self.outbox.break_down(f"the journal {self.path!r} has ended by an error: {error!r}")
            logger.critical("the journal %r has ended by an error in eventbus itself", self.path, exc_info=error)
        finally:
            self.wal.close()
            self.connection.close()
            self._release()
            self._end(self.writer.closing, None)

    def _open(self) -> None:
        writer = self.writer
        writer.ownership = Ownership(self.path, writer.journal.lock_path)
        try:
            self.connection = writer.connect(self.path, writer.journal.sync)
            found = self._recover()
        except TROUBLE as error:
            if code_of(error) in MENDABLE:
                raise JournalError(f"journal {self.path!r} cannot be opened: {error}") from error
            raise JournalCorruptError(self.path, str(error)) from error
        with self.engine.lock:
            for depot in found:
                depot.begin_to_read()
            self.outbox.ring()
        self._run_errands()

    def _recover(self) -> list[Depot]:
        writer, connection = self.writer, self.connection
        try:
            self.routes = Routes(self.path)
            self.store = Store(connection, self.routes, writer.look)
            self.pages = Pages(connection, self.routes, self.path, writer.decode)
            self.tidying = Tidying(self.engine, connection, self.routes, self.wal)
            self.place = Place(self.path)
            self.seeking = Seeking(self.engine, self.store, self.pages)
            return Recovery(self.engine, self.store, self.pages, self.path).run()
        except BaseException:
            connection.close()
            raise

    def _serve(self) -> None:
        bell = self.writer.bell
        idle = failed = False
        while True:
            rung = bell.heard() if idle else bell.heard(IDLE)
            if not rung and not failed:
                idle = not self._tidy()
                continue
            if not self.outbox.urgent() and not self.writer.ends:
                bell.heard(PAUSE)
            closing = self.writer.ends  # after it was last heard, so that no call is missed
            idle, failed = False, not self._empty()
            if closing:
                self._finish()
                return

    def _empty(self) -> bool:
        """Write all that there is: whether all of it is written. What could not be is tried again after a while."""
        outbox = self.outbox
        while haul := outbox.take():
            written = self._write(haul)
            if haul.pages:
                self._read(haul)
            self._run_errands()
            if not written:
                return False
            self._look_at_the_log()
            if outbox.rests():
                break
        return True

    def _look_at_the_log(self) -> None:
        try:
            self.tidying.look_at_the_log()
        except TROUBLE as error:
            self._told(error)

    def _look_for_the_file(self) -> None:
        """Before each commit, of which it costs a hundredth: nothing is to be called written that nobody will find."""
        if self.outbox.broken is None and self.place.is_left():
            self._break_down(
                f"the journal {self.path!r} was deleted or replaced while it was open, so that what is written there "
                f"is lost; close the bus, and open it again"
            )

    def _break_down(self, why: str) -> None:
        self.outbox.break_down(why)  # first, since a log handler may wait for what is to be written
        logger.error("%s", why)
        self._run_errands()  # it may have been about something that nobody waits for

    def _write(self, haul: Haul) -> bool:
        """Whether it is written."""
        items, sayings = haul.items, haul.sayings
        if not items and not sayings:
            return True
        self._look_for_the_file()
        if self.outbox.broken is not None:
            self.outbox.fail(items, JournalError(self.outbox.broken))
            return True
        try:
            failed = self.store.write(items, sayings, haul.offset)
        except Exception as error:
            told = self._told(error)
            self.outbox.put_back(sayings, items)
            self.outbox.fail(items, told)
            return False
        causes = {id(posting): cause for posting, cause in failed}
        done: list[Posting] = []
        for posting in items:
            if id(posting) in causes:
                self.outbox.fail([posting], JournalError(f"the transaction was undone: {causes[id(posting)]}"))
            elif isinstance(posting.change, Sought):  # in its turn: what came after comes after its past
                self.outbox.deliver(done)
                done = []
                self._seek(posting, posting.change)
            else:
                done.append(posting)
        self.outbox.deliver(done)
        return True

    def _seek(self, posting: Posting, sought: Sought) -> None:
        try:
            self.seeking.seek(sought)
        except (*TROUBLE, JournalCorruptError) as error:
            self.outbox.fail([posting], self._told(error))
        else:
            self.outbox.deliver([posting])

    def _told(self, error: Exception) -> Exception:
        """What those who wait are told; what cannot be mended breaks the journal down."""
        code = code_of(error)
        if code == sqlite3.SQLITE_FULL:
            return JournalError(
                f"the disk of journal {self.path!r} is full, so nothing of this was written; "
                f"make room, and send it again"
            )
        if code in GRAVE or isinstance(error, JournalCorruptError | UnicodeDecodeError):
            why = (
                f"the journal {self.path!r} has failed ({error}); close the bus, look after the disk, and open it again"
            )
            self._break_down(why)
            return JournalError(why)
        if not isinstance(error, sqlite3.Error):
            logger.error("a commit of journal %r has failed", self.path, exc_info=error)
        return JournalError(f"nothing of this was written to journal {self.path!r}: {error}")

    def _read(self, haul: Haul) -> None:
        if self.engine.closed:
            return
        for depot, rank in haul.pages:
            try:
                page = self.pages.next(depot, rank, self.writer.look())
            except (*TROUBLE, JournalCorruptError) as error:
                self._told(
                    error if isinstance(error, JournalCorruptError) else JournalCorruptError(self.path, str(error))
                )
                return
            if page is not None:
                self.outbox.paged(depot, page)

    def _tidy(self) -> bool:
        """A small step: whether there may be more to do."""
        if self.outbox.broken is not None:
            return False
        try:
            return self.tidying.step(self.writer.look())
        except TROUBLE as error:
            self._told(error)
            return False

    def _finish(self) -> None:
        """The last commit: the file says that it was closed."""
        try:
            self._look_for_the_file()
            if self.outbox.broken is None:
                self.connection.execute(f"UPDATE eventbus_bus SET clean = 1, offset = ({LAST})")
            if self.outbox.broken is None or self.place.is_left():  # else the new file would be taken to have this log
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except TROUBLE as error:
            self._told(error)

    def _release(self) -> None:
        if self.writer.ownership is not None:
            self.writer.ownership.release()

    def _end(self, posting: Posting, error: BaseException | None) -> None:
        self.outbox.finish(posting, error)
        self._run_errands()

    def _run_errands(self) -> None:
        """Observers and log handlers are among them, and what they raise must not end the journal."""
        try:
            run_errands(self.engine.errands)
        except BaseException:
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
