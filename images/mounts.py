"""Overlay mounts, undone whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from images.run import run


def overlay_command(lowers: Sequence[Path], upper: Path, work: Path, at: Path) -> list[str]:
    """Mount `lowers` (lowest first) under the writable `upper` at `at`.

    Renamed folders and changed modes are copied whole into `upper`, not noted in marks that only
    this kernel reads (kernel documentation, "Overlay Filesystem").
    """
    stack = ":".join(str(lower) for lower in reversed(lowers))
    options = f"lowerdir={stack},upperdir={upper},workdir={work},redirect_dir=off,metacopy=off"
    return ["mount", "-t", "overlay", "overlay", "-o", options, str(at)]


@contextmanager
def overlay(lowers: Sequence[Path], upper: Path, scratch: Path) -> Iterator[Path]:
    """The merged tree, writable into `upper`. `scratch` must be on the same file system."""
    work, merged = scratch / "overlay-work", scratch / "merged"
    for folder in (upper, work, merged):
        folder.mkdir(parents=True, exist_ok=True)
    run(overlay_command(lowers, upper, work, merged))
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
