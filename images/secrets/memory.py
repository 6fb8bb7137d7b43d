"""A folder in memory for what must not reach a disk, gone when we are, however we end."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from specs.errors import BakehouseError

MEMORY: Final = Path("/dev/shm")  # noqa: S108  a private folder is made in it
KINDS: Final = frozenset({"tmpfs", "ramfs"})


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder of our own (0700) in memory.

    A process of its own holds the other end of a pipe to us and removes the folder when that pipe
    closes: at our end, or when the kernel closes it for us after a kill. Raises BakehouseError
    where `/dev/shm` is not in memory.
    """
    if _kind(MEMORY) not in KINDS:
        raise BakehouseError(f"{MEMORY} is not in memory", f"mount -t tmpfs tmpfs {MEMORY}")
    folder = Path(tempfile.mkdtemp(prefix="bakehouse-", dir=MEMORY))
    ours = _guard(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(ours)


def _kind(folder: Path) -> str:
    """The kind of file system that is mounted at a folder, "" when none is."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, point, kind, *_ = line.split()
        if point == str(folder):
            return kind
    return ""


def _guard(folder: Path) -> int:
    """Start the process that removes the folder; returns our end of its pipe.

    The end closes on exec, so that an editor which outlives us does not hold it open.
    """
    theirs, ours = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        os.waitpid(child, 0)
        return ours
    try:
        if os.fork():  # the parent of the guard ends at once: nobody has to wait for it
            os._exit(0)
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(theirs, 0)
        os.closerange(1, 4096)
        os.read(0, 1)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os._exit(0)
