"""The partition table of a raw image."""

from __future__ import annotations

import struct
from pathlib import Path
from uuid import UUID

import pytest

from images.rootfs import mount_command, read_partitions, root_partition
from specs.errors import BakehouseError

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"


def disk(path: Path, *partitions: tuple[str, str, int, int]) -> Path:
    """A file with a table of (type, name, first sector, last sector) and nothing else."""
    header = bytearray(512)
    header[:8] = b"EFI PART"
    struct.pack_into("<QII", header, 72, 2, 128, 128)
    table = b""
    for kind, name, first, last in partitions:
        label = name.encode("utf-16-le").ljust(72, b"\0")
        table += UUID(kind).bytes_le + bytes(16) + struct.pack("<QQQ", first, last, 0) + label
    path.write_bytes(bytes(512) + bytes(header) + table.ljust(128 * 128, b"\0"))
    return path


def test_partitions_by_offset_and_size(tmp_path: Path) -> None:
    image = disk(tmp_path / "disk", (ESP, "esp", 4096, 8191), (ROOT, "root", 8192, 10239))
    esp, root = read_partitions(image)
    assert (esp.name, esp.offset, esp.size) == ("esp", 4096 * 512, 4096 * 512)
    assert (root.name, root.offset, root.size) == ("root", 8192 * 512, 2048 * 512)
    assert root_partition(image) == root


def test_root_is_mounted_to_read_and_its_journal_left_alone(tmp_path: Path) -> None:
    image = disk(tmp_path / "disk", (ROOT, "root", 8192, 10239))
    command = mount_command(image, root_partition(image), Path("/mnt"))
    options = command[command.index("-o") + 1].split(",")
    assert {"ro", "noload", "loop", "offset=4194304", "sizelimit=1048576"} == set(options)


def test_a_file_that_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no disk")
    with pytest.raises(BakehouseError, match="no disk image with a GPT"):
        read_partitions(tmp_path / "text")


def test_a_disk_without_root(tmp_path: Path) -> None:
    image = disk(tmp_path / "disk", (ESP, "esp", 4096, 8191))
    with pytest.raises(BakehouseError, match="no partition for a root file system"):
        root_partition(image)
