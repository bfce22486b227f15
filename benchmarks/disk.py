"""Where the files of the journal's figures go: a directory on a real disk, how long that takes to sync, and the end."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

HOME = "/var/tmp" if Path("/var/tmp").is_dir() else None
"""/tmp may be in memory; this one outlives a restart."""

SYNCS = 50


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for one run."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-journal-", dir=HOME) as name:
        yield Path(name)


def lasting() -> Path:
    """A directory for several runs, which goes when the program ends."""
    name = tempfile.mkdtemp(prefix="benchmarks-journal-", dir=HOME)
    atexit.register(shutil.rmtree, name, ignore_errors=True)
    return Path(name)


@functools.cache
def sync_latency() -> float:
    """Milliseconds until the disk has 4 KiB that are written to the end of a file: the median."""
    with scratch() as directory:
        file = os.open(directory / "sync", os.O_WRONLY | os.O_CREAT)
        try:
            return statistics.median(written(file) for _ in range(SYNCS)) * 1_000
        finally:
            os.close(file)


def written(file: int) -> float:
    os.write(file, bytes(4_096))
    start = perf_counter()
    os.fsync(file)
    return perf_counter() - start
