"""Stamps: what every file that an image is made from looked like, so that a build which has nothing
to do need not read them. `images/<id>/stamp-<spec file>.json` maps paths to what is seen of them.

Git's index is the pattern, its trap included: a file that changes within one tick of the clock may
look the same, so what changed since the build began, or just before, is not stamped. The time of
the last change (ctime) counts, which no program sets back as it may the mtime.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from images import store
from images.built import Built
from images.home import Home, write_whole

TICK: Final = 100_000_000
"""Nanoseconds: more than the file systems' clocks are coarse (10 ms at most)."""

Seen = list[int]
"""Mode, size in bytes, mtime and ctime in ns, inode; for a link those of its target follow."""


def find(spec_file: Path, home: Home) -> Built | None:
    """The newest generation of the spec in `spec_file` when nothing that it was made from was
    touched since; None does not say that anything was. Reads only."""
    started = time.monotonic()
    for file in home.images.glob(f"[!.]*/{_name(spec_file)}"):
        image = store.find(home, file.parent.name) if _untouched(file) else None
        newest = store.newest(home, image.name) if image else None
        if image and newest and newest.image == image.id:
            path = store.raw_path(home, image.id)
            return Built(image, newest, path, True, time.monotonic() - started)
    return None


def keep(built: Built, spec_file: Path, inputs: Iterable[Path], home: Home, began: int) -> None:
    """Stamp an image with `inputs`, all that was read for it since `began` (Unix time in ns).

    Does nothing when one of them changed meanwhile, or the store cannot be written.
    """
    with suppress(OSError):  # a stamp only saves time
        seen = {str(path.absolute()): _look(path) for path in inputs}
        if all(max(ctimes) < began - TICK for ctimes in (look[3::5] for look in seen.values())):
            write_whole(home.images / built.image.id / _name(spec_file), json.dumps(seen))


def _name(spec_file: Path) -> str:
    whole = os.fsencode(spec_file.absolute())
    return f"stamp-{hashlib.sha256(whole).hexdigest()[:16]}.json"


def _untouched(file: Path) -> bool:
    try:
        seen = json.loads(file.read_text(encoding="utf-8"))
        return all(_look(path) == look for path, look in seen.items())
    except (OSError, ValueError, AttributeError):
        return False


def _look(path: str | Path) -> Seen:
    """What tells that a file, a folder's list of names or a link is as it was."""
    found = os.lstat(path)
    looks = [found]
    if stat.S_ISLNK(found.st_mode):
        with suppress(OSError):  # it may lead nowhere
            looks.append(Path(path).stat())
    return [
        fact
        for one in looks
        for fact in (one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino)
    ]
