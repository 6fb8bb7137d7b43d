"""Things that can go: what they are, how large, and how they are freed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that can go. `size` is bytes on disk; `free` removes it, also when half gone."""

    what: str
    size: int
    free: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.what} ({megabytes(self.size)})" if self.size else self.what

    def as_data(self) -> dict[str, object]:
        """What it is, for `--json`."""
        return {"what": self.what, "bytes": self.size}


def collect(found: Sequence[Garbage], say: Callable[[str], None]) -> None:
    """Free everything, in its order; `say` gets a line for each."""
    for garbage in found:
        garbage.free()
        say(f"freed {garbage}")


def megabytes(size: int) -> str:
    """A size for a person."""
    return f"{size / 1e6:.0f} MB"


def size_of(path: Path) -> int:
    """Bytes on disk of a file, or of all in a folder; a file with holes counts what it holds."""
    inside = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in inside)


def summary(found: Sequence[Garbage]) -> str:
    """One line for a person."""
    total = sum(garbage.size for garbage in found)
    return f"{len(found)} things, {megabytes(total)}" if found else "nothing to free"
