"""Which security fixes an update brings: the CVE ids that the new packages' changelogs name.

Changelogs are read out of the .debs in the cache, for images carry none.
"""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.archive import cached
from images.archive.cache import control
from images.archive.versions import compare
from images.home import Home
from images.run import run
from specs.lock import Lock, LockedPackage

ENTRY: Final = re.compile(r"^[a-z0-9][a-z0-9+.-]* \(([^()\s]+)\) [^;]+;", re.MULTILINE)
"""The first line of an entry (deb-changelog(5))."""

CVE: Final = re.compile(r"\bCVE-\d{4}-\d{4,}\b")
SOURCE: Final = re.compile(r"^Source: (\S+)(?: \(([^)]+)\))?$", re.MULTILINE)
READERS: Final = 2


@dataclass(frozen=True, slots=True)
class Source:
    """The source package that a package was built from."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Fixes:
    """CVE ids by the name of the package that brings the fix.

    `unread` are updated packages whose changelog could not be asked.
    """

    ids: Mapping[str, tuple[str, ...]]
    unread: tuple[str, ...] = ()


def fixes(home: Home, old: Lock, new: Lock) -> Fixes:
    """What the packages of `new` fix that those of `old` had not; both images' own packages.

    A package is compared with the one of its name, else with what was built from its source: a
    kernel's has another name in each version.
    """
    before = {package.name: package for package in old.image_packages()}
    changed = [p for p in new.image_packages() if p != before.get(p.name)]
    sources = {p: _source(home, p) for p in changed if cached(home, p).exists()}
    by_source = _versions(home, before.values(), {source.name for source in sources.values()})
    groups: dict[tuple[Source, str], list[LockedPackage]] = {}
    unread = {package.name for package in changed if package not in sources}
    for package, source in sources.items():
        older = _older(home, before.get(package.name), package, source)
        older = older or by_source.get(source.name, "")
        if not older:
            unread.add(package.name)
        elif compare(source.version, older) > 0:
            groups.setdefault((source, older), []).append(package)
    with ThreadPoolExecutor(READERS) as pool:
        texts = list(pool.map(lambda packages: _changelog(home, packages), groups.values()))
    ids: dict[str, tuple[str, ...]] = {}
    for ((source, older), packages), text in zip(groups.items(), texts, strict=True):
        found = fixed(text, older, source.version)
        ids |= {package.name: found for package in packages if found}
        if not text:
            unread |= {package.name for package in packages}
    return Fixes(ids, tuple(sorted(unread & before.keys())))


def fixed(changelog: str, older: str, newer: str) -> tuple[str, ...]:
    """The CVE ids in the entries after version `older` up to `newer`, in the order of their years.

    A changelog only grows at its top, so what `older` has is never among them.
    """
    heads = list(ENTRY.finditer(changelog))
    ends = [*(head.start() for head in heads[1:]), len(changelog)]
    found = {
        cve
        for head, end in zip(heads, ends, strict=False)  # no heads, no entries
        if compare(older, head[1]) < 0 <= compare(newer, head[1])
        for cve in CVE.findall(changelog, head.end(), end)
    }
    return tuple(sorted(found, key=_by_number))


def source_of(fields: str, package: LockedPackage) -> Source:
    """The source that the control fields of a package name; without a name it is its own.

    A rebuild without a change (`+b1`) has its source's version.
    """
    named = SOURCE.search(fields)
    name = named[1] if named else package.name
    return Source(name, (named and named[2]) or package.version)


def _by_number(cve: str) -> tuple[int, int]:
    _, year, number = cve.split("-")
    return int(year), int(number)


def _source(home: Home, package: LockedPackage) -> Source:
    return source_of(control(home, package), package)


def _older(home: Home, was: LockedPackage | None, now: LockedPackage, source: Source) -> str:
    """The source version of `was`, which `now` replaces; empty when nobody can tell.

    One that left the cache is taken to have its source's version, if the new one does.
    """
    if was is None:
        return ""
    if cached(home, was).exists():
        return _source(home, was).version
    return was.version if source.version == now.version else ""


def _versions(home: Home, packages: Iterable[LockedPackage], wanted: set[str]) -> dict[str, str]:
    """The version of each wanted source among those of these packages that are in the cache."""
    found = [_source(home, package) for package in packages if cached(home, package).exists()]
    return {source.name: source.version for source in found if source.name in wanted}


def unpack_changelogs(deb: Path, into: Path) -> list[str]:
    """Unpack the changelogs of a package below `into`."""
    script = 'dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$2" --wildcards "$3"'
    return ["sh", "-c", script, "sh", str(deb), str(into), "./usr/share/doc/*/changelog*.gz"]


def _changelog(home: Home, packages: Iterable[LockedPackage]) -> str:
    """Debian's changelog of packages of one source, from the first that brings it, else empty."""
    for package in packages:
        with tempfile.TemporaryDirectory(prefix="bakehouse-") as folder:
            run(unpack_changelogs(cached(home, package), Path(folder)), check=False)
            for text in _texts(Path(folder)):
                if ENTRY.match(text):
                    return text
    return ""


def _texts(folder: Path) -> Iterator[str]:
    """Every unpacked changelog: `changelog.gz` is Debian's own only in a native package."""
    for file in sorted(folder.rglob("changelog*.gz")):
        if file.is_file():
            yield gzip.decompress(file.read_bytes()).decode(errors="replace")
