"""The manifest of a bake's files, from those of its layers: only what cloud-init changed is new."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from images.disk import boot, tree
from images.disk.ext4 import FILE_TYPES
from images.disk.tree import Tree
from images.server import drift
from images.server.drift import Facts

PARTS: Final = tuple(f"{part}/" for part in drift.PARTS)


def facts(known: Tree, layers: Sequence[Path]) -> dict[str, Facts]:
    """The facts of `known`, which is what one sees of `layers` (lowest first), without a walk.

    What only the disk adds is left out: no server is to be like it.
    """
    found = {}
    for path, entry in known.items():
        if entry.kind == "dir" or path in boot.ADDED or not path.startswith(PARTS):
            continue
        told = [f"{FILE_TYPES[entry.kind] | entry.mode:o}", f"{entry.uid}:{entry.gid}"]
        if entry.kind == "symlink":
            told.append(entry.target)
        elif entry.kind == "file":
            told += [str(entry.size), str(entry.mtime)]
            own = drift.is_digested(path, entry.size)
            told.append(drift.digest(_seen(layers, path)) if own else "")
        found[path] = tuple(told)
    return found


def _seen(layers: Sequence[Path], path: str) -> Path:
    """Where the content of a file lies that one sees."""
    return next(file for layer in reversed(layers) if os.path.lexists(file := layer / path))


def record(upper: Path, known: Tree, below: Mapping[str, Facts], latest: int) -> None:
    """Write the manifest of `upper` over `known` into `upper`; `below` has the facts of `known`.

    The same text as `drift.record` of the merged tree.
    """
    change = tree.scan(upper, latest)
    gone = tree.hidden(known, change)
    kept = {path: told for path, told in below.items() if path not in gone}
    ours = {
        path: told for path, told in drift.entries(upper, latest) if change[path].kind != "whiteout"
    }
    file = upper / drift.MANIFEST
    file.parent.mkdir(parents=True, exist_ok=True)
    drift.write(file, kept | ours)
