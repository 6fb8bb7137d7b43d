"""Layers → disk: a base disk of the package layers, made once, and the last layer on a copy.

A build from nothing makes the base and then patches a copy of it, exactly as a build with a cache
does; so a disk's bits depend on the layers, the tools and the epoch alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.disk import boot, chunks, ext4, gpt, tree
from images.disk.chunks import Chunks
from images.disk.ext4 import FileSystem
from images.disk.gpt import Names
from images.disk.tools import WORK, use
from images.disk.tree import Entry, Tree
from images.home import write_whole
from images.source import source_digest

EMPTY: Final[Tree] = {"": Entry("dir")}


@dataclass(frozen=True, slots=True)
class Disk:
    """A raw disk image: `size` in bytes, `digest` as in `chunks`, the UUID of its root."""

    path: Path
    size: int
    digest: str
    chunks: Chunks
    root_uuid: str


@dataclass(frozen=True, slots=True)
class Tools:
    """The locked tools layer: the name of its content, and the tree."""

    id: str
    tree: Path


@dataclass(frozen=True, slots=True)
class Base:
    """A disk to start from: its layers' file system made in one go, or patched into `below`'s.

    `layers` are folders named by their content, lowest first; with `below` it is one. `epoch` is
    the latest time in them, in seconds since 1970, and as much theirs as the rest of their content.
    """

    layers: tuple[Path, ...]
    epoch: int
    tools: Tools
    below: Base | None = None

    @property
    def id(self) -> str:
        """The name of its content, also of that below it."""
        own = " ".join(layer.name for layer in self.layers)
        return f"{self.below.id} + {own}" if self.below else f"{self.tools.id} {own}"

    @property
    def key(self) -> str:
        """The name of its folder in a cache."""
        made_by = f"{self.id} {source_digest('images.disk.fold')}"
        return hashlib.sha256(made_by.encode()).hexdigest()[:32]

    @property
    def names(self) -> Names:
        """The identifiers on it, which are those of the lowest base."""
        return self.below.names if self.below else gpt.names(self.id)


@dataclass(frozen=True, slots=True)
class _Kept:
    disk: Path
    chunks: Chunks


def pack(base: Base, last: Path, out: Path, *, epoch: int, cache: Path) -> Disk:
    """Make a raw disk of a base with the layer `last` patched in.

    `epoch` (seconds since 1970) is the latest time in `last`; `cache` keeps base disks. `out`
    appears whole or not at all, but is not yet flushed to the storage: that is for whoever
    publishes it. Needs root.

    Raises BakehouseError for content that cannot be packed, or when a tool fails.
    """
    known, change = _tree(base, cache), tree.scan(last, epoch)
    size = gpt.disk_size(tree.merge(known, change))
    with _scratch(out.with_name(f".{out.name}.making")) as work:
        disk = work / "disk.raw"
        kept = _disk(base, size, cache)
        digests = _patched(disk, kept, base, known=known, change=change, layer=last, epoch=epoch)
        ext4.check(_root(disk, size), tools=base.tools.tree, epoch=epoch)
        disk.replace(out)
    return Disk(out, size, digests.digest, digests, base.names.file_system)


def _patched(
    disk: Path, kept: _Kept, base: Base, *, known: Tree, change: Tree, layer: Path, epoch: int
) -> Chunks:
    """Make `disk`, a copy of the kept base with one more layer; the digests of its chunks."""
    chunks.copy_sparse(kept.disk, disk)
    fs = _root(disk, disk.stat().st_size)
    ext4.patch(known, change, layer, fs, tools=base.tools.tree, epoch=epoch)
    return chunks.digest(disk, kept.disk, kept.chunks)


def _root(disk: Path, size: int) -> FileSystem:
    return FileSystem(disk, gpt.ROOT_START, gpt.root_size(size))


@contextmanager
def _locked(base: Base, cache: Path) -> Iterator[Path]:
    """Hold the folder of a base; a second build of the same base waits for the first."""
    folder = cache / base.key
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder that is empty at the start, also after a killed run, and gone at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "work").mkdir(parents=True)
    try:
        yield folder / "work"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tree(base: Base, cache: Path) -> Tree:
    """What is on the base; from the cache when it is there and whole."""
    with _locked(base, cache) as folder:
        file = folder / "tree.json"
        if file.exists():
            stamp, _, text = file.read_text(encoding="ascii").partition("\n")
            if stamp == hashlib.sha256(text.encode()).hexdigest():
                return tree.parse(text)
        text = tree.dump(_stack(base, _tree(base.below, cache) if base.below else EMPTY))
        write_whole(file, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
        return tree.parse(text)


def _stack(base: Base, below: Tree) -> Tree:
    """The layers of a base on what is below, and what the disk itself adds to the lowest."""
    result = below
    for layer in base.layers:
        result = tree.merge(result, tree.scan(layer, base.epoch))
    return result if base.below else tree.merge(result, boot.files(base.names, base.epoch))


def _disk(base: Base, size: int, cache: Path) -> _Kept:
    """A disk of `size` bytes with the base; from the cache unless somebody touched it."""
    with _locked(base, cache) as folder:
        disk = folder / f"{size // gpt.MIB}.raw"
        facts = disk.with_suffix(".json")
        if disk.exists() and facts.exists():
            known = json.loads(facts.read_text(encoding="ascii"))
            status = disk.stat()
            if [status.st_size, status.st_mtime_ns] == known["stamp"]:
                return _Kept(disk, Chunks(tuple(known["chunks"])))
        facts.unlink(missing_ok=True)
        with _scratch(folder / "making") as work:
            draft = work / disk.name
            if base.below:
                digests = _on_top(base, base.below, draft, size, cache)
            else:
                digests = _make(base, draft, size)
            with draft.open("rb") as raw:
                os.fsync(raw.fileno())
            draft.replace(disk)
        status = disk.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        write_whole(facts, json.dumps({"stamp": stamp, "chunks": digests.digests}))
        return _Kept(disk, digests)


def _on_top(base: Base, below: Base, disk: Path, size: int, cache: Path) -> Chunks:
    (layer,) = base.layers
    change = tree.scan(layer, base.epoch)
    kept = _disk(below, size, cache)
    known = _tree(below, cache)
    return _patched(disk, kept, below, known=known, change=change, layer=layer, epoch=base.epoch)


def _make(base: Base, disk: Path, size: int) -> Chunks:
    """The lowest base: partitions, loaders, and the file system of all its layers."""
    ids, tools = base.names, base.tools.tree
    with disk.open("xb") as raw:
        raw.truncate(size)
    use(
        tools,
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", f"{WORK}/{disk.name}"],
        work=disk.parent,
        epoch=base.epoch,
        stdin=gpt.script(ids, size),
    )
    boot.install(disk, ids, tools=tools, epoch=base.epoch)
    ext4.make(
        _stack(base, EMPTY),
        _root(disk, size),
        tools=tools,
        uuid=ids.file_system,
        seed=ids.hash_seed,
        epoch=base.epoch,
    )
    return chunks.digest(disk)
