"""Layers as data: what a folder holds, and what a stack of folders amounts to.

A layer is a folder as overlayfs keeps its upper ones: a character device 0/0 hides what lies below
its name, and a folder with `trusted.overlay.opaque=y` hides the content of the one below it
(Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
"""

from __future__ import annotations

import json
import os
import re
import stat
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from specs.errors import BakehouseError

Kind = Literal["file", "dir", "symlink", "char", "block", "fifo", "whiteout"]
Tree = Mapping[str, "Entry"]
"""Paths relative to the root (which is the empty path), sorted, and what lies there."""

BLOCK: Final = 4096
"""Bytes of a file system block."""

OVERLAY: Final = "trusted.overlay."
HARMLESS: Final = ("impure", "nlink", "opaque", "origin", "uuid")
"""Overlayfs' own marks that say nothing about content, and the one that we obey."""

CARRIED: Final = ("security.capability", "system.posix_acl_", "trusted.", "user.")
"""Attributes that belong to the image; others (SELinux, IMA) are the building host's."""

BREAK: Final = re.compile("[\r\n]")

TYPES: Final[Mapping[int, Kind]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. `mode` is the permission bits; `mtime` is seconds, `size` bytes of content.

    Content lies in the host's file `source`, or is `content` when we made it up. Files with the
    same `link` are one file under several names; it is empty for a file with one name.
    """

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    link: str = ""
    opaque: bool = False
    xattrs: tuple[tuple[str, bytes], ...] = ()
    source: str = ""
    content: bytes | None = None

    def same_folder(self, other: Entry | None) -> bool:
        """Whether both are folders with the same owner, mode, time and attributes."""
        return (
            other is not None
            and self.kind == other.kind == "dir"
            and (self.mode, self.uid, self.gid, self.mtime, self.xattrs)
            == (other.mode, other.uid, other.gid, other.mtime, other.xattrs)
        )


def scan(layer: Path, epoch: int) -> dict[str, Entry]:
    """Read a layer, sorted by path; times after `epoch` become `epoch`.

    Sockets are left out: they belong to a process. Raises BakehouseError for names with line
    breaks (the file system's tools cannot take them) and for overlayfs features that keep content
    elsewhere (`metacopy`, `redirect_dir`).
    """
    found = {"": _entry(str(layer), "", epoch)}
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(layer / folder if folder else layer) as names:
            for item in names:
                path = f"{folder}/{item.name}" if folder else item.name
                if stat.S_ISSOCK(item.stat(follow_symlinks=False).st_mode):
                    continue
                found[path] = _entry(item.path, path, epoch)
                if found[path].kind == "dir":
                    folders.append(path)
    return dict(sorted(found.items()))


def _entry(source: str, path: str, epoch: int) -> Entry:
    status = os.lstat(source)
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    device = (0, 0)
    if kind in ("char", "block"):
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    if kind == "char" and device == (0, 0):
        return Entry("whiteout")
    target = str(Path(source).readlink()) if kind == "symlink" else ""
    if BREAK.search(path + target):
        raise BakehouseError(f"a file name with a line break cannot be packed: {path!r}")
    xattrs, opaque = _xattrs(source, path)
    shared = kind != "dir" and status.st_nlink > 1
    return Entry(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=min(int(status.st_mtime), epoch),
        size=status.st_size if kind == "file" else 0,
        target=target,
        device=device,
        link=f"{status.st_dev}:{status.st_ino}" if shared else "",
        opaque=opaque,
        xattrs=xattrs,
        source=source if kind == "file" else "",
    )


def _xattrs(source: str, path: str) -> tuple[tuple[tuple[str, bytes], ...], bool]:
    kept = []
    opaque = False
    for name in sorted(os.listxattr(source, follow_symlinks=False)):
        value = os.getxattr(source, name, follow_symlinks=False)
        if not name.startswith(OVERLAY):
            if name.startswith(CARRIED):
                kept.append((name, value))
            continue
        mark = name.removeprefix(OVERLAY)
        opaque = opaque or (mark == "opaque" and value == b"y")
        if mark not in HARMLESS or (mark == "opaque" and value != b"y"):
            raise BakehouseError(
                f"/{path}: overlayfs keeps part of this file elsewhere ({name})",
                "mount the overlay with redirect_dir=off,metacopy=off",
            )
    return tuple(kept), opaque


def hidden(lower: Tree, layer: Tree) -> set[str]:
    """The paths of `lower` that are gone, or another file, once `layer` lies on top.

    A folder that is a folder in both stays what it is, whatever becomes of its content.
    """
    paths = list(lower)
    gone: set[str] = set()
    for path, entry in layer.items():
        old = lower.get(path)
        if old and not (old.kind == entry.kind == "dir"):
            gone.add(path)
        if old and (entry.kind != "dir" or entry.opaque):
            gone.update(_below(paths, path))
    return gone


def _below(paths: list[str], folder: str) -> list[str]:
    """Of sorted paths, those in `folder`: "0" is the character after "/"."""
    return paths[bisect_left(paths, f"{folder}/") : bisect_left(paths, f"{folder}0")]


def merge(lower: Tree, layer: Tree) -> dict[str, Entry]:
    """What one sees with `layer` on top of `lower`, sorted by path."""
    seen = dict(lower)
    for path in hidden(lower, layer):
        del seen[path]
    for path, entry in layer.items():
        if entry.kind != "whiteout":
            seen[path] = replace(entry, opaque=False)
    return dict(sorted(seen.items()))


def used(tree: Tree) -> tuple[int, int]:
    """Bytes in whole blocks, and the number of files, that a file system of `tree` takes up."""
    total = count = 0
    links: set[str] = set()
    for entry in tree.values():
        if entry.link:
            if entry.link in links:
                continue
            links.add(entry.link)
        count += 1
        size = max(entry.size, BLOCK if entry.kind == "dir" else len(entry.target))
        total += -(-size // BLOCK) * BLOCK
    return total, count


def dump(tree: Tree) -> str:
    """`tree` as JSON, without content: enough to put another layer on it."""
    return json.dumps(
        {
            path: [e.kind, e.mode, e.uid, e.gid, e.mtime, e.size, e.target, e.link, _hex(e.xattrs)]
            for path, e in tree.items()
        }
    )


def _hex(xattrs: tuple[tuple[str, bytes], ...]) -> list[tuple[str, str]]:
    return [(name, value.hex()) for name, value in xattrs]


def parse(text: str) -> dict[str, Entry]:
    """Read what `dump` wrote. Raises ValueError when it is something else."""
    return {
        path: Entry(
            kind=kind,
            mode=mode,
            uid=uid,
            gid=gid,
            mtime=mtime,
            size=size,
            target=target,
            link=link,
            xattrs=tuple((name, bytes.fromhex(value)) for name, value in xattrs),
        )
        for path, (kind, mode, uid, gid, mtime, size, target, link, xattrs) in json.loads(
            text
        ).items()
    }
