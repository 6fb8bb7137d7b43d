"""Is an image what its plan makes? Bakes it again from nothing and compares bit by bit."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from images import store
from images.home import Home
from images.ovens import local
from images.progress import Progress
from images.recipe import Recipe
from images.rootfs import mounted
from images.store import RAW

SHOWN: Final = 20
"""Differing files that a check names."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found. `sha256` is the stored disk's own, over the whole file.

    `digest` is what its record says, `again` that of the new bake (both as in
    `images.disk.chunks`), and `differences` names the first files that are not the same.
    """

    image: str
    same: bool
    digest: str
    again: str
    sha256: str
    differences: tuple[str, ...]

    def summary(self) -> str:
        """A line on the whole, and one for each difference."""
        if self.same:
            same = f"{self.image}: baked again from nothing, bit for bit the same"
            return f"{same}\nsha256 {self.sha256}"
        lines = [f"{self.image}: baked again from nothing, and not the same"]
        return "\n".join([*lines, *(f"  {difference}" for difference in self.differences)])


def check(recipe: Recipe, image: store.Image, home: Home, progress: Progress) -> Check:
    """Bake `recipe` with empty layer caches and hold it against the stored `image`.

    Only the package cache is shared. The stored disk is read whole, whatever its record says.
    Needs root and the build lock.
    """
    with tempfile.TemporaryDirectory(dir=home.work, prefix="check-") as folder:
        empty = Home(Path(folder) / "home")
        empty.work.mkdir(parents=True)
        empty.packages.symlink_to(home.packages)
        again = Path(folder) / RAW
        baked = local.bake(recipe, empty, again, progress)
        stored = store.raw_path(home, image.id)
        with progress.stage("compare"):
            sha256 = _sha256(stored)
            same = sha256 == _sha256(again) and image.digest == baked.disk.digest
            found = () if same else tuple(islice(_differences(stored, again), SHOWN))
            if not same and not found:
                found = ("no file: the disks' own structures differ",)
    return Check(image.id, same, image.digest, baked.disk.digest, sha256, found)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _differences(stored: Path, again: Path) -> Iterator[str]:
    """Files that are not the same in two disks, sorted by path."""
    with tempfile.TemporaryDirectory(prefix="bakehouse-") as folder:
        one, two = Path(folder) / "stored", Path(folder) / "again"
        one.mkdir()
        two.mkdir()
        with mounted(stored, one), mounted(again, two):
            left, right = _files(one), _files(two)
            for name in sorted({*left, *right}):
                if name not in right:
                    yield f"{name}: only in the stored image"
                elif name not in left:
                    yield f"{name}: only in the new one"
                elif left[name] != right[name]:
                    yield f"{name}: another {_what(left[name], right[name])}"
                elif stat.S_ISREG(left[name].mode) and _sha256(one / name) != _sha256(two / name):
                    yield f"{name}: another content"


@dataclass(frozen=True, slots=True)
class _Facts:
    mode: int
    owner: int
    group: int
    size: int
    time: int
    target: str
    attributes: tuple[tuple[str, bytes], ...]


def _files(root: Path) -> dict[str, _Facts]:
    found = {}
    for path in (root, *root.rglob("*")):
        facts = path.lstat()
        found[path.relative_to(root).as_posix()] = _Facts(
            mode=facts.st_mode,
            owner=facts.st_uid,
            group=facts.st_gid,
            size=facts.st_size,
            time=facts.st_mtime_ns,
            target=str(path.readlink()) if path.is_symlink() else "",
            attributes=tuple(
                (name, os.getxattr(path, name, follow_symlinks=False))
                for name in sorted(os.listxattr(path, follow_symlinks=False))
            ),
        )
    return found


def _what(one: _Facts, two: _Facts) -> str:
    """The names of what differs."""
    return ", ".join(name for name in _Facts.__slots__ if getattr(one, name) != getattr(two, name))
