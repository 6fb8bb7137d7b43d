"""Overlay mounts, undone whatever happens, and what is mounted where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from images.run import run

PLACES: Final = tuple(Path(place) for place in ("/proc", "/sys", "/dev"))
"""Kernel interfaces, with everything below them."""


def overlay_command(lowers: Sequence[Path], upper: Path, work: Path, at: Path) -> list[str]:
    """Mount `lowers` (lowest first) under the writable `upper` at `at`.

    Renamed folders and changed modes are copied whole into `upper`, not noted in marks that only
    this kernel reads. Nothing written is waited for: whoever keeps `upper` syncs it first (kernel
    documentation, "Overlay Filesystem": "Volatile mount").
    """
    stack = ":".join(str(lower) for lower in reversed(lowers))
    options = f"lowerdir={stack},upperdir={upper},workdir={work},volatile"
    options += ",redirect_dir=off,metacopy=off"
    return ["mount", "-t", "overlay", "overlay", "-o", options, str(at)]


@contextmanager
def overlay(lowers: Sequence[Path], upper: Path, scratch: Path) -> Iterator[Path]:
    """The merged tree, writable into `upper`. `scratch` must be on the same file system.

    Without `lowers` it is empty at first.
    """
    work, merged, empty = (scratch / name for name in ("overlay-work", "merged", "empty"))
    for folder in (upper, work, merged, empty):
        folder.mkdir(parents=True, exist_ok=True)
    run(overlay_command(lowers or [empty], upper, work, merged))
    try:
        yield merged
    finally:
        run(["umount", "--recursive", str(merged)])


@contextmanager
def merged(lowers: Sequence[Path], at: Path) -> Iterator[Path]:
    """The merged tree of `lowers` (lowest first), read-only, at the empty folder `at`."""
    stack = ":".join(str(lower) for lower in reversed(lowers))
    run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={stack}", str(at)])
    try:
        yield at
    finally:
        run(["umount", str(at)])


def forget_others(needed: Sequence[Path]) -> None:
    """Let go of all mounts but `PLACES` and those that `needed` lie on.

    For a mount namespace of one's own that lives long: what it copied from its maker stays mounted
    there, though it was unmounted everywhere else.
    """
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    if others := unneeded(text, needed):
        run(["umount", "--lazy", *map(str, others)])


def unneeded(mountinfo: str, needed: Sequence[Path]) -> list[Path]:
    """The mount points to let go of, the last mounted first (proc_pid_mountinfo(5))."""
    points = [Path(unescaped(line.split()[4])) for line in mountinfo.splitlines()]

    def kept(point: Path) -> bool:
        inside = any(point.is_relative_to(place) for place in PLACES)
        return inside or any(path.is_relative_to(point) for path in needed)

    return [point for point in reversed(points) if not kept(point)]


def unescaped(point: str) -> str:
    """A mount point as it is: the kernel writes blanks and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, in the order in which they were mounted."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = line.split()[4]
        if point.startswith(f"{folder}/"):
            points.append(point)
    return points
