"""Files of the local cloud that hold a file system: servers' disks and volumes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from images.home import sync_folder
from images.run import run
from specs.errors import BakehouseError

DEVICE_FOLDER: Final = "dev/disk/by-id"
"""Where a server finds its volumes, as on a cloud."""

PATIENCE: Final = 10.0
"""Seconds that the kernel may take to let go of a file."""


def make_disk(file: Path, size: int) -> None:
    """An empty ext4 file system of `size` bytes, whole or not at all; it takes what it holds."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.new")
    with draft.open("wb") as handle:
        os.truncate(handle.fileno(), size)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", str(draft)])
    draft.rename(file)
    sync_folder(file.parent)


def loops_of(file: Path) -> list[str]:
    """The loop devices that a file is behind."""
    listed = run(["losetup", "--noheadings", "--output", "NAME", "--associated", str(file)])
    return listed.stdout.split()


def await_free(file: Path) -> None:
    """Wait until the kernel has let go of it. Raises BakehouseError when somebody uses it."""
    deadline = time.monotonic() + PATIENCE
    while loops := loops_of(file):
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"{file} is still in use by {', '.join(loops)}",
                f"see who does: losetup --list; let go: losetup --detach {loops[0]}",
            )
        time.sleep(0.02)


@contextmanager
def disk_mounted(file: Path, at: Path) -> Iterator[Path]:
    """The file system in a file, to write; the loop device goes with the mount."""
    at.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "ext4", "-o", "loop", str(file), str(at)])
    try:
        yield at
    finally:
        run(["umount", str(at)])


@contextmanager
def root_mounted(image: Path, disk: Path, at: Path) -> Iterator[Path]:
    """A server's root at `at`: what it wrote to its disk, over the image.

    Unlike `images.mounts.overlay`, whose mounts are volatile, it can be mounted again after any
    end, and what a server synced is on its disk.
    """
    upper, work = disk / "upper", disk / "overlay-work"
    for folder in (upper, work, at):
        folder.mkdir(parents=True, exist_ok=True)
    # A disk that an earlier version mounted carries the mark of a volatile one.
    shutil.rmtree(work / "work" / "incompat", ignore_errors=True)
    options = f"lowerdir={image},upperdir={upper},workdir={work},redirect_dir=off,metacopy=off"
    run(["mount", "-t", "overlay", "overlay", "-o", options, str(at)])
    try:
        yield at
    finally:
        run(["umount", "--recursive", str(at)])
