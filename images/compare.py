"""What differs between two images, generations or specs: packages and what they fix, files,
content, users, services, open ports, size.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from cloudinit.firewall import open_ports
from images import store, stored_plan
from images.compare_files import between
from images.fixes import Fixes, fixes
from images.home import Home
from images.recipe import Recipe
from specs.errors import BakehouseError
from specs.lock import Lock, load
from specs.plan import ImagePlan

_Facts = Mapping[str, Mapping[str, str]]
EVERYONE: Final = "everyone"
SHOWN: Final = 6
"""CVE ids that a line names."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. `facts` maps a kind (`file`, `port`) to its names, and each to what it is.

    A kind is compared when both sides have it: a lock knows of packages only, and a spec without
    one of all but packages. `size` is bytes of the disk, 0 when not baked; `raw` is the disk of a
    published image.
    """

    name: str
    lock: Lock | None
    facts: Mapping[str, Mapping[str, str]]
    size: int = 0
    raw: Path | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; `old` or `new` is empty for what came or went.

    `fixes` are CVE ids, for a package whose new changelog names them.
    """

    kind: str
    name: str
    old: str
    new: str
    fixes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """The difference as a person reads it; files as a unified diff of their text."""
        both = self.kind == "files" or (self.old and self.new)
        mark = "~" if both else "+" if self.new else "-"
        if self.kind != "file":
            values = " → ".join(value for value in (self.old, self.new) if value)
            yield f"{mark} {self.kind} {self.name} {values}{self._fixes()}".rstrip()
            return
        yield f"{mark} file {self.name}"
        if self.old and self.new:
            texts = self.old.splitlines(), self.new.splitlines()
            lines = difflib.unified_diff(*texts, lineterm="", n=1)
            yield from (f"    {line}" for line in list(lines)[2:])

    def _fixes(self) -> str:
        more = len(self.fixes) - SHOWN
        named = ", ".join(self.fixes[:SHOWN]) + (f" and {more} more" if more > 0 else "")
        return f"  fixes {named}" if named else ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All changes, sorted by kind and name, and what could not be compared."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The comparison as a person reads it."""
        found = [line for change in self.changes for line in change.lines()]
        return [*found, *(f"note: {note}" for note in self.notes)] or ["no difference"]


def of_recipe(home: Home, recipe: Recipe, name: str) -> Side:
    """A spec, with the lock that it has."""
    plan = recipe.plan.image
    image = store.find(home, recipe.id) if plan.lock else None
    facts = {**_of_document(recipe.bake), **_of_plan(plan)}
    return _side(name, plan.lock, facts, image.size if image else 0)


def of_image(home: Home, image: store.Image, name: str) -> Side:
    """A published image. A plan that an older version stored may be past reading."""
    folder = home.images / image.id
    facts = _of_document((folder / "bake.yaml").read_text(encoding="utf-8"))
    with suppress(BakehouseError):
        facts |= _of_plan(stored_plan.load(home, image.id).image)
    found = _side(name, load(folder / "spec.lock"), facts, image.size)
    return replace(found, raw=store.raw_path(home, image.id))


def compare(home: Home, old: Side, new: Side) -> Comparison:
    """What turns `old` into `new`, with the CVEs that the new packages' changelogs name.

    Of two images as root also the files that packages brought or changed.
    """
    found = fixes(home, old.lock, new.lock) if old.lock and new.lock else Fixes({})
    notes = [
        f"{one.name} does not tell, so not compared: {', '.join(missing)}"
        for one, other in ((old, new), (new, old))
        if (missing := sorted(other.facts.keys() - one.facts.keys()))
    ]
    if found.unread:
        notes.append(f"no changelog at hand, fixes unknown: {', '.join(found.unread)}")
    changed = [
        replace(change, fixes=found.ids.get(change.name, ()))
        if change.kind == "package"
        else change
        for change in changes(old, new)
    ]
    if old.raw and new.raw:
        told = old.facts["file"].keys() | new.facts["file"].keys()
        try:
            changed += [Change(*one) for one in between(old.raw, new.raw, told)]
        except (BakehouseError, OSError) as error:
            notes.append(
                f"files that packages brought are not compared: {str(error).splitlines()[0]}"
            )
    return Comparison(
        tuple(sorted(changed, key=lambda change: (change.kind, change.name))), tuple(notes)
    )


def changes(old: Side, new: Side) -> tuple[Change, ...]:
    """What turns `old` into `new`, sorted by kind and name."""
    found = [
        change
        for kind in sorted(old.facts.keys() & new.facts.keys())
        for change in _between(kind, old.facts[kind], new.facts[kind])
    ]
    if old.size and new.size and old.size != new.size:
        found.append(Change("size", "disk", _megabytes(old.size), _megabytes(new.size)))
    return tuple(found)


def side(home: Home, word: str, read: Callable[[str], Recipe]) -> Side:
    """A person's word for one side: a spec file, a lock, an image id, or `<spec>@<generation>`.

    `read` makes the recipe of a spec file. Raises UsageError for what is none of these.
    """
    if word.endswith(".lock"):
        return _side(word, load(Path(word)), {})
    if word.endswith((".yaml", ".yml")) or Path(word).is_file():
        return of_recipe(home, read(word), word)
    return of_image(home, store.look_up(home, word), word)


def _between(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield Change(kind, name, old.get(name, ""), new.get(name, ""))


def _side(name: str, lock: Lock | None, facts: _Facts, size: int = 0) -> Side:
    packages = {p.name: p.version for p in lock.image_packages()} if lock else None
    return Side(name, lock, facts if packages is None else {**facts, "package": packages}, size)


def _of_document(text: str) -> dict[str, Mapping[str, str]]:
    bake: dict[str, Any] = YAML(typ="safe").load(text)
    return {
        "file": {file["path"]: file["content"] or " " for file in bake["write_files"]},
        "service": dict(_services(bake["runcmd"])),
        "user": {user["name"]: _user(user) for user in bake["users"] if isinstance(user, dict)},
    }


def _of_plan(plan: ImagePlan) -> dict[str, Mapping[str, str]]:
    return {
        "content": {payload.name: payload.sha256[:12] for payload in plan.payloads},
        "port": _ports(plan),
    }


def _user(user: Mapping[str, Any]) -> str:
    """What an account is; its keys and whether it may use sudo are files."""
    return ", ".join([f"number {user['uid']}", user["shell"], *user.get("groups", ())])


def _services(scripts: list[Any]) -> Iterator[tuple[str, str]]:
    """Units that the image enables or masks."""
    for line in (line for script in scripts for line in str(script).splitlines()):
        for verb, state in (("enable", "enabled"), ("mask", "masked")):
            if line.startswith(f"systemctl {verb} "):
                yield from ((unit, state) for unit in line.split()[2:])


def _ports(plan: ImagePlan) -> dict[str, str]:
    """Who may reach each port from outside."""
    limited = {
        f"{rule.protocol}/{rule.port}": ", ".join(sorted(rule.sources))
        for rule in plan.firewall.allow
    }
    return limited | {f"{protocol}/{port}": EVERYONE for protocol, port in open_ports(plan)}


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
