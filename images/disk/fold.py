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
from dataclasses import dataclass, replace
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
class Draft:
    """A base disk's copy with one more layer on it, in a scratch folder; `pack` makes a disk of it.

    `known` is what is on the disk; `below` is that without the layer.
    """

    base: Base
    below: Tree
    layer: Path
    known: Tree
    kept: _Kept
    folder: Path
    cache: Path

    @property
    def disk(self) -> Path:
        """The copy."""
        return self.folder / "work/disk.raw"


@dataclass(frozen=True, slots=True)
class _Kept:
    disk: Path
    chunks: Chunks


def begin(base: Base, below: Tree, layer: Path, folder: Path, *, epoch: int, cache: Path) -> Draft:
    """Copy a base disk, which has `below` on it, into the new `folder`, and patch `layer` in.

    It may run while the last layer is made: when that turns out to need a larger disk, `pack` draws
    it anew. `epoch` (seconds since 1970) is the latest time in `layer`; `cache` keeps base disks.
    Needs root. Raises BakehouseError when a tool fails.
    """
    known = tree.merge(below, tree.scan(layer, epoch))
    size = gpt.disk_size(known)
    draft = Draft(base, below, layer, known, _disk(base, size, cache), folder, cache)
    _draw(draft, epoch)
    return draft


def _draw(draft: Draft, epoch: int) -> None:
    """Make the draft's copy, with its layer."""
    shutil.rmtree(draft.folder, ignore_errors=True)
    draft.disk.parent.mkdir(parents=True)
    chunks.copy_sparse(draft.kept.disk, draft.disk)
    change = tree.scan(draft.layer, epoch)
    tools = draft.base.tools.tree
    ext4.patch(draft.below, change, draft.layer, _root(draft.disk), tools=tools, epoch=epoch)


def pack(draft: Draft, last: Path, out: Path, *, epoch: int) -> Disk:
    """Make the raw disk `out` of a draft with the layer `last` patched in; the draft's folder goes.

    `epoch` (seconds since 1970) is the latest time in `last`. `out`, on the draft's file system,
    appears whole or not at all, but is not yet flushed to the storage: that is for whoever
    publishes it. Needs root.

    Raises BakehouseError for content that cannot be packed, or when a tool fails.
    """
    base, change = draft.base, tree.scan(last, epoch)
    size = gpt.disk_size(tree.merge(draft.known, change))
    if size != draft.disk.stat().st_size:
        draft = replace(draft, kept=_disk(base, size, draft.cache))
        _draw(draft, epoch)
    kept, tools = draft.kept, base.tools.tree
    ext4.patch(draft.known, change, last, _root(draft.disk), tools=tools, epoch=epoch)
    digests = chunks.digest(draft.disk, kept.disk, kept.chunks)
    ext4.check(_root(draft.disk), tools=tools, epoch=epoch)
    draft.disk.replace(out)
    shutil.rmtree(draft.folder)
    return Disk(out, size, digests.digest, digests, base.names.file_system)


def _root(disk: Path) -> FileSystem:
    return FileSystem(disk, gpt.ROOT_START, gpt.root_size(disk.stat().st_size))


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


def content(base: Base, cache: Path) -> Tree:
    """What is on a base, but for the content of files; from `cache` when it is there and whole."""
    with _locked(base, cache) as folder:
        file = folder / "tree.json"
        if file.exists():
            stamp, _, text = file.read_text(encoding="ascii").partition("\n")
            if stamp == hashlib.sha256(text.encode()).hexdigest():
                return tree.parse(text)
        text = tree.dump(_stack(base, content(base.below, cache) if base.below else EMPTY))
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
    known = content(below, cache)
    chunks.copy_sparse(kept.disk, disk)
    ext4.patch(known, change, layer, _root(disk), tools=base.tools.tree, epoch=base.epoch)
    return chunks.digest(disk, kept.disk, kept.chunks)


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
        _root(disk),
        tools=tools,
        uuid=ids.file_system,
        seed=ids.hash_seed,
        epoch=base.epoch,
    )
    return chunks.digest(disk)
