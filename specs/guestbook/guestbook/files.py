"""Files in one folder. A file appears whole, on disk, and with a known checksum, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class BadNameError(Exception):
    """A name that is no plain file name."""


@dataclass(frozen=True)
class Stored:
    """What was written; `size` in bytes."""

    name: str
    size: int
    sha256: str


class Files:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """The file's place; BadNameError for anything that could lead elsewhere or is hidden."""
        if not NAME.fullmatch(name):
            raise BadNameError(name)
        return self.folder / name

    def names(self) -> list[str]:
        """Every file, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(item.name for item in self.folder.iterdir() if NAME.fullmatch(item.name))

    def put(self, name: str, chunks: Iterable[bytes]) -> Stored:
        """Write what comes to a temporary name, to the disk, then under its name."""
        target = self.path(name)
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".new-", delete=False) as file:
            try:
                for chunk in chunks:
                    digest.update(chunk)
                    size += file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return Stored(name, size, digest.hexdigest())
