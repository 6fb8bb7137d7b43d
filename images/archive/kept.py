"""Locked packages that their archive no longer lists, offered to apt from the package cache."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from images.archive.apt import Apt
from images.archive.cache import cached, control
from images.archive.scope import stanzas
from images.home import Home
from specs.lock import LockedPackage


def dropped(apt: Apt, locked: Iterable[LockedPackage]) -> list[LockedPackage]:
    """Those that no archive lists with this version and content."""
    every = list(locked)
    if not every:
        return []
    shown = apt.run(["apt-cache", "show", *(p.name for p in every)], check=False).stdout
    listed = {(stanza["Package"], stanza.get("SHA256", "")) for stanza in stanzas(shown)}
    return [package for package in every if (package.name, package.sha256) not in listed]


def offer(apt: Apt, home: Home, packages: Iterable[LockedPackage], at: Path) -> None:
    """Make the folder `at` a source of these packages, which must be in the cache, and read it."""
    at.mkdir()
    index = "\n".join(_stanza(home, package) for package in packages)
    (at / "Packages").write_text(index, encoding="utf-8")
    (at / "Release").write_text("Suite: kept\n", encoding="utf-8")
    sources = apt.root / "etc/apt/sources.list"
    line = f"deb [trusted=yes] copy:{at} ./\n"
    alone = apt.root / "etc/apt/kept.list"
    alone.write_text(line, encoding="utf-8")
    with sources.open("a", encoding="utf-8") as file:
        file.write(line)
    one = ["-o", f"Dir::Etc::SourceList={alone}", "-o", "APT::Get::List-Cleanup=0"]
    apt.run(["apt-get", "update", "--quiet", *one])


def _stanza(home: Home, package: LockedPackage) -> str:
    fields = control(home, package)
    return (
        f"{fields.rstrip()}\nFilename: ./{cached(home, package).name}\n"
        f"Size: {package.size}\nSHA256: {package.sha256}\n"
    )
