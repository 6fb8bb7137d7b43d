"""A flat apt repository made of locked packages: what a bake installs from, instead of a mirror."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from images.archive.cache import cached, control
from images.home import Home
from specs.lock import LockedPackage


def make(home: Home, packages: Sequence[LockedPackage], release: str, at: Path) -> Path:
    """Fill the folder `at` with hard links to the cached packages and their index.

    The packages must be in the cache (`archive.fetch`). Their digests were checked there, so apt is
    told to trust the index instead of a signature. mmdebstrap finds the essential packages by the
    name of the `release`.
    """
    at.mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        stanzas = list(pool.map(lambda package: _stanza(home, package), packages))
    for package in packages:
        _link(cached(home, package), at / _file_name(package))
    index = "\n".join(stanzas)
    (at / "Packages").write_text(index, encoding="utf-8")
    digest = hashlib.sha256(index.encode()).hexdigest()
    entry = f"{digest} {len(index.encode())} Packages"
    (at / "Release").write_text(
        f"Suite: {release}\nCodename: {release}\nSHA256:\n {entry}\n", encoding="utf-8"
    )
    return at


def _link(source: Path, target: Path) -> None:
    """The same file twice; a copy where the cache lies on another file system."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)


def _file_name(package: LockedPackage) -> str:
    version = package.version.replace(":", "%3a")
    return f"{package.name}_{version}_{package.architecture}.deb"


def _stanza(home: Home, package: LockedPackage) -> str:
    return (
        f"{control(home, package).rstrip()}\nFilename: ./{_file_name(package)}\n"
        f"Size: {package.size}\nSHA256: {package.sha256}\n"
    )
