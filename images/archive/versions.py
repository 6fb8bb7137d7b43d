"""Debian's versions and relations: which is newer, and whether one satisfies what another asks.

Follows Debian Policy 5.6.12 ("Version") and 7.1 ("Syntax of relationship fields").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

RELATION: Final = re.compile(
    r"^\s*(?P<name>[a-z0-9][a-z0-9+.-]*)(?::[a-z0-9-]+)?"
    r"\s*(?:\((?P<how><<|<=|=|>=|>>)\s*(?P<version>[^)\s]+)\s*\))?"
)


@dataclass(frozen=True, slots=True)
class Relation:
    """`libc6 (>= 2.38)`; without a version `how` is empty."""

    name: str
    how: str = ""
    version: str = ""

    def met_by(self, version: str) -> bool:
        """Whether this version of the package is one that is asked for."""
        if not self.how:
            return True
        order = compare(version, self.version)
        return {
            "<<": order < 0,
            "<=": order <= 0,
            "=": order == 0,
            ">=": order >= 0,
            ">>": order > 0,
        }[self.how]


def groups(stanza: Mapping[str, str], *fields: str) -> tuple[tuple[Relation, ...], ...]:
    """The relations in these fields of a package's stanza: all groups, any of each group."""
    found = []
    for field in fields:
        for group in stanza.get(field, "").split(","):
            matches = [RELATION.match(choice) for choice in group.split("|")]
            choices = [
                Relation(m["name"], m["how"] or "", m["version"] or "") for m in matches if m
            ]
            if choices:
                found.append(tuple(choices))
    return tuple(found)


def compare(one: str, other: str) -> int:
    """Below, at or above zero as `one` is older than, the same as, or newer than `other`."""
    for ours, theirs in zip(_parts(one), _parts(other), strict=True):
        order = _compare_part(ours, theirs)
        if order:
            return order
    return 0


def _parts(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    upstream, _, revision = (rest if colon else version).rpartition("-")
    if not upstream:
        upstream, revision = revision, ""
    return epoch if colon else "0", upstream, revision


def _compare_part(one: str, other: str) -> int:
    """Text and numbers in turns; in text, `~` sorts before the end and letters before the rest."""
    pairs = zip_longest(_runs(one), _runs(other), fillvalue=("", 0))
    for (text, number), (other_text, other_number) in pairs:
        for mine, yours in zip_longest(text, other_text, fillvalue=""):
            if _rank(mine) != _rank(yours):
                return _rank(mine) - _rank(yours)
        if number != other_number:
            return number - other_number
    return 0


def _runs(part: str) -> list[tuple[str, int]]:
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", part)]


def _rank(letter: str) -> int:
    if letter == "~":
        return -1
    if not letter:
        return 0
    return ord(letter) if letter.isalpha() else ord(letter) + 256
