"""The partitions of a disk: BIOS boot, EFI system, and the root file system last, so it can grow.

Sizes in bytes; every start is a whole MiB, and the root starts where a chunk of the digest does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from images.disk.tree import Tree, used

MIB: Final = 1024 * 1024
SECTOR: Final = 512

BIOS_START: Final = 1 * MIB
BIOS_SIZE: Final = 1 * MIB
ESP_START: Final = 2 * MIB
ESP_SIZE: Final = 62 * MIB
"""FAT32 needs 65525 clusters or more, at 512 bytes each."""

ROOT_START: Final = 64 * MIB
TAIL: Final = 1 * MIB
"""Room for the second partition table."""

STEP: Final = 256 * MIB
"""Disks are made in steps of this, so that a small change keeps the size and thus the base."""

BIOS_BOOT: Final = "21686148-6449-6E6F-744E-656564454649"
EFI_SYSTEM: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX_ROOT: Final = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
"""Partition types: GRUB manual, "BIOS installation"; UEFI 2.10 table 5-7; the Discoverable
Partitions Specification (root, x86-64)."""


@dataclass(frozen=True, slots=True)
class Names:
    """The identifiers of a disk and what is on it, all made from one seed."""

    disk: str
    bios: str
    esp: str
    root: str
    file_system: str
    hash_seed: str
    volume: str

    @property
    def volume_uuid(self) -> str:
        """The ESP's volume id as Linux writes it: 1234-ABCD."""
        return f"{self.volume[:4]}-{self.volume[4:]}".upper()


def names(seed: str) -> Names:
    """All identifiers for a base; the same for the same seed."""

    def uuid(purpose: str) -> str:
        raw = hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:16]
        return str(UUID(bytes=raw, version=4))

    return Names(
        disk=uuid("disk"),
        bios=uuid("bios"),
        esp=uuid("esp"),
        root=uuid("root"),
        file_system=uuid("file system"),
        hash_seed=uuid("hash seed"),
        volume=hashlib.sha256(f"{seed} volume".encode()).hexdigest()[:8],
    )


def disk_size(tree: Tree) -> int:
    """Bytes of a disk for `tree`: a quarter more than it needs, and 512 MiB; in whole steps.

    A file needs its blocks, and an inode of which there is one for each 16 KiB. The root file
    system grows to the server's disk at its first boot.
    """
    content, count = used(tree)
    need = max(content, count * 16384) * 5 // 4 + 512 * MIB
    return -(-need // STEP) * STEP


def root_size(size: int) -> int:
    """Bytes of the root file system on a disk of `size` bytes."""
    return size - ROOT_START - TAIL


def script(ids: Names, size: int) -> str:
    """What sfdisk reads to write both partition tables and the protective MBR."""

    def line(start: int, length: int, kind: str, uuid: str, name: str) -> str:
        return (
            f"start={start // SECTOR}, size={length // SECTOR}, type={kind}, "
            f'uuid={uuid.upper()}, name="{name}"'
        )

    return "\n".join(
        [
            "label: gpt",
            f"label-id: {ids.disk.upper()}",
            "unit: sectors",
            "first-lba: 34",
            "",
            line(BIOS_START, BIOS_SIZE, BIOS_BOOT, ids.bios, "bios"),
            line(ESP_START, ESP_SIZE, EFI_SYSTEM, ids.esp, "esp"),
            line(ROOT_START, root_size(size), LINUX_ROOT, ids.root, "root"),
            "",
        ]
    )
