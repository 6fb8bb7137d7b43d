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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

from images.disk import boot, chunks, ext4, gpt, tree
from images.disk.chunks import Chunks
from images.disk.ext4 import FileSystem
from images.disk.gpt import Names
from images.disk.tools import INSIDE, use
from images.disk.tree import Entry, Tree
from images.home import write_whole


@dataclass(frozen=True, slots=True)
class Disk:
    """A raw disk image: `size` in bytes, `digest` as in `chunks`, the UUID of its root."""

    path: Path
    size: int
    digest: str
    chunks: Chunks
    root_uuid: str


@dataclass(frozen=True, slots=True)
class Makings:
    """What a base is made of."""

    layers: Sequence[Path]
    tools: Path
    epoch: int
    ids: Names


@dataclass(frozen=True, slots=True)
class _Base:
    disk: Path
    chunks: Chunks


def pack(
    layers: Sequence[Path], out: Path, *, tools: Path, epoch: int, cache: Path, base_id: str
) -> Disk:
    """Make a raw disk of a stack of layers, lowest first; the last one is patched in.

    `tools` is the locked tools layer; `epoch` (seconds since 1970) the latest time in the image;
    `cache` keeps base disks, found by `base_id`, which must name the content of all layers but
    the last and of the tools. `out` appears whole or not at all, but is not yet flushed to the
    storage: that is for whoever publishes it. Needs root.

    Raises BakehouseError for content that cannot be packed, or when a tool fails.
    """
    *lower, last = layers
    made = Makings(lower, tools, epoch, gpt.names(base_id))
    with _locked(cache / base_key(base_id, epoch)) as folder:
        base_tree = _base_tree(folder, made)
        change = tree.scan(last, epoch)
        size = gpt.disk_size(tree.merge(base_tree, change))
        base = _base_disk(folder, made, size)
    with _scratch(out.with_name(f".{out.name}.making")) as work:
        disk = work / "disk.raw"
        chunks.copy_sparse(base.disk, disk)
        fs = FileSystem(disk, gpt.ROOT_START, gpt.root_size(size))
        ext4.patch(base_tree, change, last, fs, tools=tools, epoch=epoch)
        ext4.check(fs, tools=tools, epoch=epoch)
        digests = chunks.digest(disk, base.disk, base.chunks)
        disk.replace(out)
    return Disk(out, size, digests.digest, digests, made.ids.file_system)


def base_key(base_id: str, epoch: int) -> str:
    """The name of a base disk in its cache."""
    return hashlib.sha256(f"{base_id} {epoch} {_source_digest()}".encode()).hexdigest()[:32]


@once
def _source_digest() -> str:
    """Over the source of this package: another way to make bases makes other bases."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Hold the folder of a base; a second build of the same base waits for the first."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder that is empty at the start, also after a killed run, and gone at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stack(made: Makings) -> dict[str, Entry]:
    """All layers but the last, and what the disk itself adds on top of them."""
    result: dict[str, Entry] = {"": Entry("dir")}
    for layer in made.layers:
        result = tree.merge(result, tree.scan(layer, made.epoch))
    return tree.merge(result, boot.files(made.ids, made.epoch))


def _base_tree(folder: Path, made: Makings) -> Tree:
    """What is on the base; from the cache when it is there and whole."""
    file = folder / "tree.json"
    if file.exists():
        stamp, _, text = file.read_text(encoding="ascii").partition("\n")
        if stamp == hashlib.sha256(text.encode()).hexdigest():
            return tree.parse(text)
    text = tree.dump(_stack(made))
    write_whole(file, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    return tree.parse(text)


def _base_disk(folder: Path, made: Makings, size: int) -> _Base:
    """A disk of `size` bytes with the base; from the cache unless somebody touched it."""
    disk = folder / f"{size // gpt.MIB}.raw"
    facts = disk.with_suffix(".json")
    if disk.exists() and facts.exists():
        known = json.loads(facts.read_text(encoding="ascii"))
        status = disk.stat()
        if [status.st_size, status.st_mtime_ns] == known["stamp"]:
            return _Base(disk, Chunks(tuple(known["chunks"])))
    facts.unlink(missing_ok=True)
    with _scratch(folder / "making") as work:
        draft = work / disk.name
        _make_base(draft, made, size)
        digests = chunks.digest(draft)
        with draft.open("rb") as raw:
            os.fsync(raw.fileno())
        draft.replace(disk)
    status = disk.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    write_whole(facts, json.dumps({"stamp": stamp, "chunks": digests.digests}))
    return _Base(disk, digests)


def _make_base(disk: Path, made: Makings, size: int) -> None:
    with disk.open("xb") as raw:
        raw.truncate(size)
    use(
        made.tools,
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", f"{INSIDE}/work/{disk.name}"],
        binds={"work": disk.parent},
        epoch=made.epoch,
        stdin=gpt.script(made.ids, size),
    )
    boot.install(disk, made.ids, tools=made.tools, epoch=made.epoch)
    fs = FileSystem(disk, gpt.ROOT_START, gpt.root_size(size))
    ids = made.ids
    ext4.make(
        _stack(made),
        fs,
        tools=made.tools,
        uuid=ids.file_system,
        seed=ids.hash_seed,
        epoch=made.epoch,
    )
