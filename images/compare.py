"""What differs between two images, generations or specs: packages and what they fix, files,
content, users, services, open ports, size.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from cloudinit.firewall import open_ports
from images import store, stored_plan
from images.fixes import Fixes, fixes
from images.home import Home
from images.recipe import Recipe
from specs.errors import BakehouseError
from specs.lock import Lock, parse
from specs.plan import ImagePlan

EVERYONE: Final = "everyone"
SHOWN: Final = 6
"""CVE ids that a line names."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, as its lock, its `bake.yaml` and its plan say.

    Without a `lock` packages are not compared. `ports` and `content` are None when
    an older version of Bakehouse stored the plan in a form that cannot be read any more. `size` is
    bytes of the disk, 0 when not baked.
    """

    name: str
    lock: Lock | None
    files: Mapping[str, str]
    users: Mapping[str, str]
    services: Mapping[str, str]
    ports: Mapping[str, str] | None
    content: Mapping[str, str] | None
    size: int


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
        mark = "~" if self.old and self.new else "+" if self.new else "-"
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
    return _side(name, recipe.bake, plan.lock, plan, image.size if image else 0)


def of_image(home: Home, image: store.Image, name: str) -> Side:
    """A published image."""
    folder = home.images / image.id
    lock = parse((folder / "spec.lock").read_text(encoding="utf-8"), f"{image.id}/spec.lock")
    document = (folder / "bake.yaml").read_text(encoding="utf-8")
    try:
        plan = stored_plan.load(home, image.id).image
    except BakehouseError:
        plan = None
    return _side(name, document, lock, plan, image.size)


def compare(home: Home, old: Side, new: Side) -> Comparison:
    """What turns `old` into `new`, with the CVEs that the new packages' changelogs name."""
    found = fixes(home, old.lock, new.lock) if old.lock and new.lock else Fixes({})
    notes = [
        f"{side.name}: its plan is of another version of Bakehouse; ports and content not compared"
        for side in (old, new)
        if side.ports is None
    ]
    if found.unread:
        notes.append(f"no changelog at hand, fixes unknown: {', '.join(found.unread)}")
    return Comparison(
        tuple(
            replace(change, fixes=found.ids.get(change.name, ()))
            if change.kind == "package"
            else change
            for change in changes(old, new)
        ),
        tuple(notes),
    )


def changes(old: Side, new: Side) -> tuple[Change, ...]:
    """What turns `old` into `new`, sorted by kind and name."""
    found: list[Change] = []
    if old.content is not None and new.content is not None:
        found += _between("content", old.content, new.content)
    found += _between("file", old.files, new.files)
    if old.lock and new.lock:
        found += _between("package", _packages(old.lock), _packages(new.lock))
    if old.ports is not None and new.ports is not None:
        found += _between("port", old.ports, new.ports)
    found += _between("service", old.services, new.services)
    if old.size and new.size and old.size != new.size:
        found.append(Change("size", "disk", _megabytes(old.size), _megabytes(new.size)))
    return (*found, *_between("user", old.users, new.users))


def side(home: Home, word: str, read: Callable[[str], Recipe]) -> Side:
    """A person's word for one side: a spec file, an image id, or `<spec>@<generation>`.

    `read` makes the recipe of a spec file. Raises UsageError for what is none of these.
    """
    if word.endswith((".yaml", ".yml")) or Path(word).is_file():
        return of_recipe(home, read(word), word)
    return of_image(home, store.look_up(home, word), word)


def _between(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield Change(kind, name, old.get(name, ""), new.get(name, ""))


def _side(name: str, document: str, lock: Lock | None, plan: ImagePlan | None, size: int) -> Side:
    bake: dict[str, Any] = YAML(typ="safe").load(document)
    return Side(
        name=name,
        lock=lock,
        files={file["path"]: file["content"] or " " for file in bake["write_files"]},
        users={user["name"]: _user(user) for user in bake["users"] if isinstance(user, dict)},
        services=dict(_services(bake["runcmd"])),
        ports=_ports(plan) if plan else None,
        content={p.name: p.sha256[:12] for p in plan.payloads} if plan else None,
        size=size,
    )


def _packages(lock: Lock) -> dict[str, str]:
    return {package.name: package.version for package in lock.image_packages()}


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
