"""Where Bakehouse keeps things on this machine: one folder, `BAKEHOUSE_HOME`.

```
packages/<first 2>/<sha256>.deb   every .deb by its digest, shared by all specs
layers/<id>/                      directory trees that images are made of
payloads/<key>/                   folders that bake.yaml copies from: sites, container images
bases/                            ready file systems of package layers
images/<id>/                      published images; generations/<spec>/<n>.json points at them
work/                             of the builds that run now; emptied by the next one
cloud/                            the servers of the local provider, and all that belongs to them
operator/                         the key pair that opens servers
```
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from images.mounts import mounts_below
from specs.errors import BakehouseError, UsageError, printable

SPLITS: Final = re.compile(r"""[\s:,;%\\"'\[\]]|[\x00-\x1f\x7f]""")
"""What separates, quotes or escapes in one of the places that a path is written into."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder and the places in it; makes nothing by itself."""

    root: Path

    @property
    def packages(self) -> Path:
        return self.root / "packages"

    @property
    def layers(self) -> Path:
        return self.root / "layers"

    @property
    def payloads(self) -> Path:
        return self.root / "payloads"

    @property
    def bases(self) -> Path:
        return self.root / "bases"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def generations(self) -> Path:
        return self.root / "generations"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def cloud(self) -> Path:
        return self.root / "cloud"

    @property
    def operator(self) -> Path:
        return self.root / "operator"


def find_home(given: str = "") -> Home:
    """`given` (`--store`), else `BAKEHOUSE_HOME`, else the platform's place for data.

    Raises UsageError for a path that mount options, apt's lists or systemd-nspawn would take apart.
    """
    chosen = given or os.environ.get("BAKEHOUSE_HOME", "")
    root = Path(chosen).absolute() if chosen else platformdirs.user_data_path("bakehouse")
    apart = SPLITS.search(str(root))
    if apart:
        raise UsageError(
            f"{printable(str(root))} cannot keep images: its path holds {apart[0]!r}",
            "name another folder with --store or BAKEHOUSE_HOME",
        )
    return Home(root)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old one or the whole new one, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def build_lock(home: Home, purpose: str, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the one build lock of a home; `waiting` is told, once, who has it.

    The kernel drops the lock with its process, so a killed build never holds it.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    with (home.root / "build.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            waiting(f"waiting for another build: {_holder(file.read())}")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        holder = {"pid": os.getpid(), "purpose": purpose, "since": time.strftime("%H:%M:%S")}
        file.write(json.dumps(holder))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"{holder['purpose']} (process {holder['pid']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"


def clear_work(home: Home) -> None:
    """Remove what earlier builds left; the build lock must be held.

    Raises BakehouseError when something is still mounted there: deleting would go through it.
    """
    inside = mounts_below(home.work)
    if inside:
        raise BakehouseError(
            f"{inside[0]} is still mounted", f"unmount it: umount --recursive {inside[0]}"
        )
    shutil.rmtree(home.work, ignore_errors=True)
    home.work.mkdir(parents=True, exist_ok=True)


def need_space(folder: Path, wanted: int, what: str) -> None:
    """Raises BakehouseError when the disk of `folder` has less than `wanted` bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise BakehouseError(
            f"{what} needs {wanted / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free",
            "free some space, or set BAKEHOUSE_HOME (or --store) to a larger disk",
        )
