"""What becomes of a volume's file system that was not unmounted, or is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.run import run
from images.server import volume
from images.server.state import ProgramError


@pytest.fixture
def disk(tmp_path: Path) -> str:
    """A file system with a file in it."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/rows").write_text("committed")
    made = tmp_path / "disk"
    with made.open("wb") as file:
        file.truncate(32 << 20)
    run(["mkfs.ext4", "-q", "-d", str(tmp_path / "tree"), str(made)])
    return str(made)


def spoil(disk: str, request: str) -> None:
    run(["debugfs", "-w", "-R", request, disk])


def state_of(disk: str) -> str:
    shown = run(["dumpe2fs", "-h", disk]).stdout
    return next(line for line in shown.splitlines() if line.startswith("Filesystem state")).split(
        ":"
    )[1]


def rows(disk: str) -> str:
    return run(["debugfs", "-R", "cat rows", disk]).stdout


def test_one_that_was_unmounted_is_left_as_it_is(disk: str) -> None:
    volume.repair(disk)
    assert (state_of(disk).strip(), rows(disk)) == ("clean", "committed")


def test_what_an_unclean_end_left_is_mended(disk: str) -> None:
    spoil(disk, "set_super_value state 2")  # "errors found"
    spoil(disk, "set_super_value free_blocks_count 7")
    assert "errors" in state_of(disk)
    volume.repair(disk)
    assert state_of(disk).strip() == "clean"
    assert rows(disk) == "committed"


def test_what_only_a_person_can_mend_is_not_mounted(disk: str) -> None:
    spoil(disk, "set_super_value state 2")
    spoil(disk, "clri <2>")  # the root folder's inode
    with pytest.raises(ProgramError, match="run `e2fsck"):
        volume.repair(disk)


def test_what_is_no_such_file_system_is_for_mount_to_tell(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    volume.repair(str(tmp_path / "zeros"))
