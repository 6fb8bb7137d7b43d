"""The root file system inside a raw disk image: found by its partition table, mounted to read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from images.run import run
from specs.errors import BakehouseError

SECTOR: Final = 512
LINUX_ROOTS: Final = (
    UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),  # x86-64 root, UAPI partition types
    UUID("0fc63daf-8483-4772-8e79-3d69d8477de4"),  # Linux file system data
)


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition by its type; `offset` and `size` are bytes in the image."""

    type: UUID
    name: str
    offset: int
    size: int


def read_partitions(image: Path) -> tuple[Partition, ...]:
    """The partitions of a GPT disk image, in the order of its table (UEFI specification, 5.3).

    Raises BakehouseError when the file holds no such table.
    """
    with image.open("rb") as file:
        file.seek(SECTOR)
        header = file.read(92)
        if len(header) < 92 or header[:8] != b"EFI PART":
            raise BakehouseError(
                f"{image}: no disk image with a GPT", "name a raw image that build-image made"
            )
        first, count, width = struct.unpack_from("<QII", header, 72)
        file.seek(first * SECTOR)
        table = file.read(count * width)
    entries = (table[at : at + width] for at in range(0, len(table), width))
    return tuple(_partition(entry) for entry in entries if any(entry[:16]))


def _partition(entry: bytes) -> Partition:
    first, last = struct.unpack_from("<QQ", entry, 32)
    return Partition(
        UUID(bytes_le=entry[:16]),
        entry[56:128].decode("utf-16-le").rstrip("\0"),
        first * SECTOR,
        (last - first + 1) * SECTOR,
    )


def root_partition(image: Path) -> Partition:
    """The partition with the root file system. Raises BakehouseError when there is none."""
    partitions = read_partitions(image)
    for wanted in LINUX_ROOTS:
        for partition in partitions:
            if partition.type == wanted:
                return partition
    raise BakehouseError(f"{image}: no partition for a root file system", "bake the image again")


def mount_command(image: Path, partition: Partition, at: Path) -> list[str]:
    """Mount an ext4 partition to read, its journal untouched; the loop device goes with it."""
    place = f"loop,offset={partition.offset},sizelimit={partition.size}"
    return ["mount", "-t", "ext4", "-o", f"ro,noload,{place}", str(image), str(at)]


@contextmanager
def mounted(source: Path, at: Path) -> Iterator[Path]:
    """The files of an image, read-only at `at`; a folder is taken as such a tree itself."""
    if source.is_dir():
        yield source
        return
    at.mkdir(parents=True, exist_ok=True)
    run(mount_command(source, root_partition(source), at))
    try:
        yield at
    finally:
        run(["umount", str(at)])
