"""Lets apt choose: what it would install for each layer's names on an empty system."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from images.archive.apt import Apt
from images.archive.sources import Source
from images.run import CommandError
from specs.errors import BakehouseError
from specs.lock import STACK, LockedPackage

Wanted = Mapping[str, Sequence[str]]
"""Names by layer (`specs.packages.layers`)."""

LINE: Final = re.compile(
    r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha>[0-9a-f]{64})$"
)


def resolve(
    apt: Apt,
    sources: Sequence[Source],
    wanted: Wanted,
    kept: Mapping[str, LockedPackage],
) -> dict[str, tuple[LockedPackage, ...]]:
    """The packages of each layer, without those that lie below it.

    `kept` are packages of the last lock, by name, that no archive lists any more. Raises
    BakehouseError when a name does not exist or the names cannot be installed together.
    """
    sets: dict[str, tuple[LockedPackage, ...]] = {}
    core = stack = _Below(_essential(apt.lists), frozenset())
    for layer, names in wanted.items():
        below = stack if layer in STACK else core
        nothing_new = not names and below.packages
        lines = [] if nothing_new else _lines(apt, [*below.names, *names])
        found = frozenset(_package(line, sources, kept) for line in lines) | below.packages
        _no_virtual(layer, names, found)
        sets[layer] = tuple(sorted(found - below.packages))
        if layer in STACK:
            stack = _Below((*below.names, *names), found)
        if layer == STACK[0]:
            core = stack
    return sets


@dataclass(frozen=True, slots=True)
class _Below:
    """What a layer stands on: the names asked for so far, and all the packages they came to."""

    names: tuple[str, ...]
    packages: frozenset[LockedPackage]


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


def _no_virtual(layer: str, names: Sequence[str], found: Collection[LockedPackage]) -> None:
    """A lock says which package was asked for, so a name that several provide is refused."""
    for name in names:
        if name not in {package.name for package in found}:
            raise BakehouseError(
                f"{layer}: {name} is not a package but a name that others provide",
                "name the package itself, as `apt-cache showpkg` lists it",
            )
