"""The root file system: made once from a sorted archive, patched with debugfs, never mounted.

mke2fs of e2fsprogs 1.47.2 reads an archive in the order it is in, honours SOURCE_DATE_EPOCH, and
of the extended attributes keeps file capabilities only (misc/create_inode_libarchive.c); so all
attributes are set by debugfs. debugfs neither fails nor stops when one of its commands does, but
says so on standard error: anything there is a failure.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final

from images.disk.tools import INSIDE, WORK, use
from images.disk.tree import Entry, Tree, hidden
from specs.errors import BakehouseError

FEATURES: Final = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
"""What both GRUB 2.12 and the rescue systems of clouds read; no defaults of a configuration."""

TAR_TYPES: Final[Mapping[str, bytes]] = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}
FILE_TYPES: Final[Mapping[str, int]] = {
    "file": 0o100000,
    "dir": 0o040000,
    "symlink": 0o120000,
    "char": 0o020000,
    "block": 0o060000,
    "fifo": 0o010000,
}
PIPE: Final = 65536
"""Bytes that a pipe holds (pipe(7)): what is written at once."""

NAMES_PER_BLOCK: Final = 12
"""Directory entries of the longest names (264 bytes) that surely fit into a block of 4096."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """Where in the raw file `disk` the file system lies, in bytes."""

    disk: Path
    offset: int
    size: int


def write_archive(tree: Tree, out: IO[bytes]) -> None:
    """All of `tree` as a tar archive, sorted by path."""
    first: dict[str, str] = {}
    form = tarfile.PAX_FORMAT
    with tarfile.open(
        fileobj=out, mode="w|", bufsize=PIPE, format=form, encoding="utf-8"
    ) as archive:
        for path, entry in tree.items():
            info = tarfile.TarInfo(f"./{path}" if path else ".")
            info.type = TAR_TYPES[entry.kind]
            info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
            info.mtime = entry.mtime
            info.pax_headers = {"atime": str(entry.mtime), "ctime": str(entry.mtime)}
            info.linkname = entry.target
            info.devmajor, info.devminor = entry.device
            if entry.link and first.setdefault(entry.link, info.name) != info.name:
                info.type, info.linkname = tarfile.LNKTYPE, first[entry.link]
                archive.addfile(info)
            elif entry.content is not None:
                info.size = len(entry.content)
                archive.addfile(info, io.BytesIO(entry.content))
            elif entry.kind == "file":
                info.size = entry.size
                with Path(entry.source).open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)


def make_command(disk: str, fs: FileSystem, uuid: str, seed: str) -> list[str]:
    """mke2fs for a file system of the archive that it reads, in a file that is all zeros."""
    extended = (
        f"offset={fs.offset}",
        f"hash_seed={seed}",
        "root_owner=0:0",
        "assume_storage_prezeroed=1",
        "nodiscard",
    )
    return [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-m", "1"),
        *("-O", FEATURES, "-e", "remount-ro", "-L", "root", "-U", uuid),
        *("-E", ",".join(extended), "-d", "-", disk, f"{fs.size // 1024}k"),
    ]


def make(tree: Tree, fs: FileSystem, *, tools: Path, uuid: str, seed: str, epoch: int) -> None:
    """Make the file system of `tree`. The disk's folder is used for scratch files.

    Raises BakehouseError when a tool fails.
    """
    work = fs.disk.parent
    command = make_command(f"{WORK}/{fs.disk.name}", fs, uuid, seed)
    use(tools, command, work=work, epoch=epoch, stdin=partial(write_archive, tree))
    values = Values(work / "values")
    script = [
        line
        for path, entry in tree.items()
        for line in _attributes(word(f"/{path}"), entry, None, values)
    ]
    _debug(script, fs, tools=tools, binds={"values": values.folder}, epoch=epoch)


def word(text: str) -> str:
    """One argument for debugfs: in double quotes, those inside doubled (lib/ss/parse.c)."""
    return '"' + text.replace('"', '""') + '"'


class Values:
    """Attribute values as files for `ea_set -f`, which takes any bytes; one file per value."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.names: dict[bytes, str] = {}

    def file(self, value: bytes) -> str:
        name = self.names.setdefault(value, str(len(self.names)))
        (self.folder / name).write_bytes(value)
        return f"{INSIDE}/values/{name}"


def patch_script(base: Tree, layer: Tree, values: Values) -> Iterator[str]:
    """The lines for debugfs that put `layer` on a file system that holds `base`."""
    gone = hidden(base, layer)
    folders = {path for path, entry in layer.items() if entry.kind == "dir"}
    kept = {path for path in folders - gone if _is_dir(base, path)}
    yield from _removals(base, gone)
    names: dict[str, list[str]] = {}
    linked: Counter[str] = Counter()
    for path, entry in layer.items():
        if entry.kind == "whiteout" or (path in kept and entry.same_folder(base[path])):
            continue
        if entry.link and names.setdefault(entry.link, []):
            yield from _further_name(names[entry.link], path, linked)
            continue
        if path not in kept:
            yield from _creation(path, entry)
        if entry.link:
            names[entry.link].append(path)
        full = word(f"/{path}")
        yield f"sif {full} mode 0{FILE_TYPES[entry.kind] | entry.mode:o}"
        yield f"sif {full} uid {entry.uid}"
        yield f"sif {full} gid {entry.gid}"
        for clock in ("atime", "ctime", "mtime"):
            yield f"sif {full} {clock} @{entry.mtime}"
        yield from _attributes(full, entry, base[path] if path in kept else None, values)


def _is_dir(tree: Tree, path: str) -> bool:
    return path in tree and tree[path].kind == "dir"


def _removals(base: Tree, gone: Iterable[str]) -> Iterator[str]:
    """What a layer hides or replaces goes, children before their folders."""
    for path in sorted(gone, reverse=True):
        verb = "rmdir" if base[path].kind == "dir" else "rm"
        yield f"{verb} {word('/' + path)}"


def _further_name(names: list[str], path: str, linked: Counter[str]) -> Iterator[str]:
    """A hard link. `ln` neither counts links nor makes room in the folder, so we do."""
    folder = f"/{path.rpartition('/')[0]}"
    if linked[folder] % NAMES_PER_BLOCK == 0:
        yield f"expand_dir {word(folder)}"
    linked[folder] += 1
    names.append(path)
    yield f"ln {word('/' + names[0])} {word('/' + path)}"
    yield f"sif {word('/' + path)} links_count {len(names)}"


def _creation(path: str, entry: Entry) -> Iterator[str]:
    full = word(f"/{path}")
    match entry.kind:
        case "dir":
            yield f"mkdir {full}"
        case "file":
            yield f"write {word(f'{INSIDE}/layer/{path}')} {full}"
        case "symlink":
            yield f"symlink {full} {word(entry.target)}"
        case _:
            folder, _, name = path.rpartition("/")
            letter = {"char": "c", "block": "b", "fifo": "p"}[entry.kind]
            numbers = "" if letter == "p" else f" {entry.device[0]} {entry.device[1]}"
            yield f"cd {word('/' + folder)}"
            yield f"mknod {word(name)} {letter}{numbers}"
            yield "cd /"


def _attributes(full: str, entry: Entry, before: Entry | None, values: Values) -> Iterator[str]:
    kept = {name for name, _ in entry.xattrs}
    for name, _ in before.xattrs if before else ():
        if name not in kept:
            yield f"ea_rm {full} {word(name)}"
    for name, value in entry.xattrs:
        yield f"ea_set -f {values.file(value)} {full} {word(name)}"


def patch(
    base: Tree, layer_tree: Tree, layer: Path, fs: FileSystem, *, tools: Path, epoch: int
) -> None:
    """Put a layer on the file system that holds `base`, a pure function of the two.

    The disk's folder is used for scratch files. Raises BakehouseError when debugfs could not do a
    step.
    """
    values = Values(fs.disk.parent / "values")
    script = list(patch_script(base, layer_tree, values))
    _debug(script, fs, binds={"layer": layer, "values": values.folder}, tools=tools, epoch=epoch)
    shutil.rmtree(values.folder)
    if any(base[path].xattrs for path in hidden(base, layer_tree)):
        # debugfs does not free the block that a removed file may have had for its attributes
        _repair(fs, tools=tools, epoch=epoch)


def _debug(
    script: list[str], fs: FileSystem, *, binds: Mapping[str, Path], tools: Path, epoch: int
) -> None:
    if not script:
        return
    work = fs.disk.parent
    (work / "script").write_bytes(os.fsencode("\n".join(script) + "\n"))
    disk = f"{WORK}/{fs.disk.name}?offset={fs.offset}"
    argv = ["debugfs", "-w", "-f", f"{WORK}/script", disk]
    result = use(tools, argv, work=work, binds=binds, epoch=epoch)
    complaints = [line for line in result.stderr.splitlines() if not line.startswith("debugfs 1.")]
    if complaints:
        raise BakehouseError(
            "debugfs could not put a layer on the disk\n" + "\n".join(complaints[:20]),
            "report this as a fault of Bakehouse, with the lines above",
        )


def _repair(fs: FileSystem, *, tools: Path, epoch: int) -> None:
    """Let e2fsck correct what is safe to correct, such as free blocks that count as used."""
    disk = f"{WORK}/{fs.disk.name}?offset={fs.offset}"
    argv = ["e2fsck", "-f", "-p", disk]
    use(tools, argv, work=fs.disk.parent, epoch=epoch, fine=(0, 1))


def check(fs: FileSystem, *, tools: Path, epoch: int) -> None:
    """Raises BakehouseError unless e2fsck finds the file system flawless."""
    disk = f"{WORK}/{fs.disk.name}?offset={fs.offset}"
    use(tools, ["e2fsck", "-f", "-n", disk], work=fs.disk.parent, epoch=epoch)
