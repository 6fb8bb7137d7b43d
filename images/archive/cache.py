"""The package cache: every .deb by its digest, shared by all specs and safe under many builds.

A name in it appears only by renaming a whole, checked file, and is checked again before anything
is made of it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from images.home import Home
from images.run import run
from specs.lock import LockedPackage


def cached(home: Home, package: LockedPackage) -> Path:
    """Where the package's .deb lies in the cache, or will."""
    return home.packages / package.sha256[:2] / f"{package.sha256}.deb"


def lacking(
    home: Home, wanted: Sequence[LockedPackage], unread: Container[LockedPackage] = ()
) -> list[LockedPackage]:
    """Those whose .deb is not in the cache, or is there with another content; of the `unread` ones
    only the size is looked at."""

    def there(package: LockedPackage) -> bool:
        file = cached(home, package)
        return (has_size if package in unread else is_whole)(file, package)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(there, wanted))
    return [package for package, ok in zip(wanted, found, strict=True) if not ok]


def has_size(file: Path, package: LockedPackage) -> bool:
    """Whether the file is there, as large as the locked package."""
    try:
        return file.stat().st_size == package.size
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_whole(file: Path, package: LockedPackage) -> bool:
    """Whether the file is the locked package, by size and digest."""
    try:
        if not has_size(file, package):
            return False
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == package.sha256
    except (FileNotFoundError, NotADirectoryError):
        return False


def add(home: Home, package: LockedPackage, file: Path) -> None:
    """Move a whole file on the same disk into the cache."""
    target = cached(home, package)
    target.parent.mkdir(parents=True, exist_ok=True)
    file.replace(target)


def control(home: Home, package: LockedPackage) -> str:
    """The control fields of a cached package; they are kept beside the .deb."""
    file = cached(home, package)
    kept = file.with_suffix(".control")
    ours = (f"Package: {package.name}\n", f"\nVersion: {package.version}\n")
    if kept.exists():
        text = kept.read_text(encoding="utf-8", errors="replace")
        if all(line in text for line in ours):
            return text
    text = run(["dpkg-deb", "--field", str(file)]).stdout
    handle, draft = tempfile.mkstemp(prefix=".control-", dir=file.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    Path(draft).replace(kept)
    return text
