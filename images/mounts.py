"""Overlay mounts, undone whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from images.run import run


def overlay_command(lowers: Sequence[Path], upper: Path, work: Path, at: Path) -> list[str]:
    """Mount `lowers` (lowest first) under the writable `upper` at `at`."""
    stack = ":".join(str(lower) for lower in reversed(lowers))
    options = f"lowerdir={stack},upperdir={upper},workdir={work}"
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
