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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from images import store
from images.built import Built
from images.home import Home, write_whole

PROJECT: Final = Path(__file__).parents[1]

TICK: Final = 3_000_000_000
"""Nanoseconds: more than the clock of any file system is coarse (2 s with FAT)."""

Look = list[int]
"""Mode, size in bytes, mtime and ctime in ns, inode; for a link those of its target follow."""

Looks = Mapping[str, Look]
"""By the path."""


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


def looks(paths: Iterable[Path]) -> Looks:
    """What these files look like now; nothing at all when one is not there, as a lock that the
    build is yet to make."""
    try:
        return {str(path.absolute()): _look(path) for path in paths}
    except OSError:
        return {}


def keep(built: Built, spec_file: Path, seen: Looks, home: Home, began: int) -> None:
    """Stamp an image with what all that was read for it looked like; the reading was after `began`
    (Unix time in ns), the looking before the bake.

    Does nothing when it is not known of all, one changed since, or the store cannot be written.
    """
    ctimes = (ctime for look in seen.values() for ctime in look[3::5])
    with suppress(OSError):  # a stamp only saves time
        if _same(seen) and max(ctimes) < began - TICK:
            write_whole(home.images / built.image.id / _name(spec_file), json.dumps(seen))


def _name(spec_file: Path) -> str:
    """Of a spec file and of this copy of our own source: another one may bake another image."""
    whole = b"\0".join(map(os.fsencode, (spec_file.absolute(), PROJECT)))
    return f"stamp-{hashlib.sha256(whole).hexdigest()[:16]}.json"


def _untouched(file: Path) -> bool:
    try:
        return _same(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return False


def _same(seen: Looks) -> bool:
    return bool(seen) and all(_look(path) == look for path, look in seen.items())


def _look(path: str | Path) -> Look:
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
