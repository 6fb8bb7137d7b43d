"""The lock: exactly what goes into an image, as JSON beside the spec, made to be read in a diff.

This module only reads and writes the form; `images.archive` asks the archives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from specs.errors import UsageError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, order=True)
class LockedPackage:
    """One Debian package. `path` is below the archive's root; `size` is bytes of the .deb."""

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Lock:
    """All that a build may use.

    `sets` maps a layer's name to the packages it adds to the layers before it, in this order:
    `base`, `services`, `extra`; further `tools`, and `app:<name>` for each built app, which stand
    alone. `epoch` is seconds since 1970 of the newest index: the clock of every file in the image.
    `indexes` maps each index's name to its sha256. `uids` gives accounts that packages or the
    spec make their number (group of the same number).
    """

    epoch: int
    release: str
    architecture: str
    sets: Mapping[str, tuple[LockedPackage, ...]]
    indexes: Mapping[str, str]
    uids: Mapping[str, int]

    def image_packages(self) -> tuple[LockedPackage, ...]:
        """Every package in the image itself, sorted by name."""
        layers = ("base", "services", "extra")
        return tuple(sorted(p for layer in layers for p in self.sets.get(layer, ())))


def lock_path(spec_file: Path) -> Path:
    """`specs/hobby.yaml` has its lock at `specs/hobby.lock`."""
    return spec_file.with_suffix(".lock")


def dump(lock: Lock) -> str:
    """JSON with sorted keys, a line for each value: a small change is a small diff."""
    data = {"format": FORMAT, **asdict(lock)}
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def parse(text: str, name: str) -> Lock:
    """Read what `dump` wrote; `name` is the file's, for the error.

    Raises UsageError when it is no lock or one of another format.
    """
    try:
        data: dict[str, Any] = json.loads(text)
        if data.pop("format") != FORMAT:
            raise ValueError("another format")
        sets = {
            key: tuple(LockedPackage(**package) for package in packages)
            for key, packages in data.pop("sets").items()
        }
        return Lock(sets=sets, **data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{name}: not a lock of this version of Bakehouse ({error})",
            "delete the file and run the build again to make a new lock",
        ) from error
