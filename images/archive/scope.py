"""How far an update goes, and which locked packages may move so that the rest can stay.

apt itself takes the highest version of everything. Holding locked versions is done by pinning them
above the rest (apt_preferences(5)); a pinned version that a moving one cannot live with is let go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from images.archive import versions
from images.archive.apt import Apt
from images.archive.sources import SECURITY, Source
from images.archive.versions import Relation
from specs.errors import UsageError
from specs.finding import near
from specs.lock import LockedPackage

HELD: Final = 990
"""Above any archive's own priority (500), below what would force a downgrade (1000)."""

Stanza = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scope:
    """`hold`: locked versions stay, but for `names` and, with `security`, for what the security
    suites have newer.
    """

    hold: bool = True
    security: bool = False
    names: tuple[str, ...] = ()


EVERYTHING: Final = Scope(hold=False)
AS_LOCKED: Final = Scope()


def parse(only: str, locked: Iterable[str]) -> Scope:
    """What `--only` means: nothing given, `security`, or a package of the lock.

    Raises UsageError for a package that is not in the lock.
    """
    if not only:
        return EVERYTHING
    if only == "security":
        return Scope(security=True)
    names = sorted(set(locked))
    if only not in names:
        raise UsageError(
            f"--only {only}: the lock has no such package",
            near(only, names, "name a package of the lock, or `security`"),
        )
    return Scope(names=(only,))


def hold(
    apt: Apt, sources: Sequence[Source], scope: Scope, locked: Mapping[str, LockedPackage]
) -> None:
    """Write apt's preferences so that of `locked` only those move that the scope lets.

    Packages made from one source move together, and what a moving package needs newer moves too.
    """
    suites = sorted(
        {s.suite for s in sources if s.suite.endswith(SECURITY)} if scope.security else ()
    )
    free = set(scope.names)
    asked = set(locked)
    while True:
        pins = [
            line
            for name in sorted(set(locked) - free)
            for line in _pins(name, locked[name].version, suites)
        ]
        apt.preferences.write_text("\n".join(pins), encoding="utf-8")
        chosen = candidates(apt, asked)
        more = set(_too_old(chosen, {n: p.version for n, p in locked.items()}, free))
        new = set(_newly_needed(chosen, locked)) - asked
        if not more and not new:
            return
        free |= more
        asked |= new


def _pins(name: str, version: str, suites: Sequence[str]) -> Iterator[str]:
    yield from (f"Package: {name}", f"Pin: version {version}", f"Pin-Priority: {HELD}", "")
    for suite in suites:
        for field in ("a", "n"):
            yield from (f"Package: {name}", f"Pin: release {field}={suite}")
            yield from (f"Pin-Priority: {HELD}", "")


def candidates(apt: Apt, names: Iterable[str]) -> dict[str, Stanza]:
    """The stanza of the version that apt would take of each package; unknown names are left out."""
    command = ["apt-cache", "show", "--no-all-versions", *sorted(names)]
    return {stanza["Package"]: stanza for stanza in stanzas(apt.run(command, check=False).stdout)}


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The paragraphs of a Packages file; of fields that go on over lines, the first line."""
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if not line.startswith((" ", "\t"))]
        fields = {name: value.strip() for name, _, value in (li.partition(":") for li in lines)}
        if "Package" in fields and "Version" in fields:
            yield fields


def _too_old(
    chosen: Mapping[str, Stanza], locked: Mapping[str, str], free: set[str]
) -> Iterator[str]:
    """Held packages that a moving one needs newer, or that cannot live with one that moves."""
    moving = {name for name, stanza in chosen.items() if stanza["Version"] != locked.get(name)}
    moving |= free & set(chosen)
    held = {name for name in chosen if name in locked and name not in free | moving}
    families = {_source(chosen[name]) for name in free & set(chosen)}
    yield from (name for name in held if _source(chosen[name]) in families)
    provided = {
        relation.name
        for stanza in chosen.values()
        for group in versions.groups(stanza, "Provides")
        for relation in group
    }
    for name, stanza in chosen.items():
        for group in versions.groups(stanza, "Pre-Depends", "Depends"):
            there = {relation.name for relation in group if relation.name in chosen}
            if not there or not (there | {name}) & moving or _met(group, chosen, provided):
                continue
            yield from (there & held) or ({name} & held)
        for group in versions.groups(stanza, "Breaks", "Conflicts"):
            for relation in group:
                if relation.how and relation.name in chosen and relation.name != name:
                    hit = relation.met_by(chosen[relation.name]["Version"])
                    if hit and {name, relation.name} & moving:
                        yield from ({relation.name} & held) or ({name} & held)


def _met(group: Sequence[Relation], chosen: Mapping[str, Stanza], provided: set[str]) -> bool:
    return any(
        relation.name in provided
        or (relation.name in chosen and relation.met_by(chosen[relation.name]["Version"]))
        for relation in group
    )


def _newly_needed(
    chosen: Mapping[str, Stanza], locked: Mapping[str, LockedPackage]
) -> Iterator[str]:
    """What moving packages depend on that the lock does not have: those have needs of their own."""
    for name, stanza in chosen.items():
        if name in locked and locked[name].version == stanza["Version"]:
            continue
        for group in versions.groups(stanza, "Pre-Depends", "Depends"):
            if not any(relation.name in chosen for relation in group):
                yield group[0].name


def _source(stanza: Stanza) -> str:
    return stanza.get("Source", stanza["Package"]).split()[0]
