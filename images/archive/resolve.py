"""Lets apt choose: what it would install for each layer's names on an empty system."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from images.archive.apt import Apt
from images.archive.sources import Source
from images.run import CommandError
from specs.errors import BakehouseError
from specs.lock import LockedPackage

Wanted = Mapping[str, Sequence[str]]
"""Names by layer (`specs.packages.layers`)."""

STACKED: Final = ("base", "services", "extra")
"""Layers that stand on one another, lowest first."""

LINE: Final = re.compile(
    r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha>[0-9a-f]{64})$"
)


def resolve(
    apt: Apt,
    sources: Sequence[Source],
    wanted: Wanted,
    kept: Mapping[str, LockedPackage],
) -> dict[str, tuple[LockedPackage, ...]]:
    """The packages of each layer; those of stacked layers leave out what lies below them.

    `kept` are packages of the last lock, by name, that no archive lists any more. Raises
    BakehouseError when a name does not exist or the names cannot be installed together.
    """
    essential = _essential(apt.lists)
    sets: dict[str, tuple[LockedPackage, ...]] = {}
    below: list[str] = []
    known: set[LockedPackage] = set()
    for layer, names in wanted.items():
        stacked = layer in STACKED
        asked = [*essential, *(below if stacked else ()), *names]
        nothing_new = stacked and known and not names
        lines = [] if nothing_new else _lines(apt, asked)
        found = {_package(line, sources, kept) for line in lines}
        _no_virtual(layer, names, found | known if stacked else found)
        if stacked:
            found -= known
            known |= found
            below += names
        sets[layer] = tuple(sorted(found))
    return sets


def _essential(lists: Path) -> tuple[str, ...]:
    """The packages that every Debian system has, by the archive's own word."""
    names: set[str] = set()
    for file in lists.glob("*_Packages"):
        name = ""
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Essential: yes"):
                    names.add(name)
    return tuple(sorted(names))


def _lines(apt: Apt, names: Sequence[str]) -> list[re.Match[str]]:
    if not names:
        return []
    command = ["apt-get", "install", "--yes", "--quiet", "--print-uris", *dict.fromkeys(names)]
    try:
        output = apt.run(command).stdout
    except CommandError as error:
        raise _unresolved(error) from error
    return [match for line in output.splitlines() if (match := LINE.match(line))]


def _unresolved(error: CommandError) -> BakehouseError:
    said = f"{error.result.stdout}\n{error.result.stderr}" if error.result else error.message
    lines = [line.strip() for line in said.splitlines()]
    why = [
        line for line in lines if re.match(r"\S+ : (?:Depends|PreDepends|Conflicts|Breaks)", line)
    ]
    why += [line[3:] for line in lines if line.startswith("E: ") and "broken packages" not in line]
    return BakehouseError(
        "apt cannot resolve the packages: " + ("; ".join(why) or said.strip()),
        "check the names in system.packages and apps.*.build.packages against the release",
    )


def _package(
    match: re.Match[str], sources: Sequence[Source], kept: Mapping[str, LockedPackage]
) -> LockedPackage:
    uri = unquote(match["uri"])
    name, version, rest = unquote(match["file"]).split("_", 2)
    homes = [source for source in sources if uri.startswith(f"{source.uri}/")]
    if not homes:
        return kept[name]
    source = max(homes, key=lambda source: len(source.uri))
    return LockedPackage(
        name=name,
        version=version,
        architecture=rest.removesuffix(".deb"),
        archive=source.name,
        path=uri[len(source.uri) + 1 :],
        sha256=match["sha"],
        size=int(match["size"]),
    )


def _no_virtual(layer: str, names: Sequence[str], found: set[LockedPackage]) -> None:
    """A lock says which package was asked for, so a name that several provide is refused."""
    for name in names:
        if name not in {package.name for package in found}:
            raise BakehouseError(
                f"{layer}: {name} is not a package but a name that others provide",
                "name the package itself, as `apt-cache showpkg` lists it",
            )
