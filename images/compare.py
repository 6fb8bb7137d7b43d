"""What differs between two images, generations or specs: packages, files, users, units."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from images import store
from images.home import Home
from images.recipe import Recipe
from specs.lock import Lock, parse


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: what its `bake.yaml` and its lock say.

    `packages` is None without a lock; `size` is bytes, 0 when not baked.
    """

    name: str
    packages: Mapping[str, str] | None
    files: Mapping[str, str]
    users: frozenset[str]
    units: frozenset[str]
    size: int


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; `old` or `new` is empty for what came or went."""

    kind: str
    name: str
    old: str
    new: str

    def lines(self) -> Iterator[str]:
        """The difference as a person reads it; files as a unified diff of their text."""
        if self.kind != "file" or not (self.old and self.new):
            mark = "~" if self.old and self.new else "+" if self.new else "-"
            detail = ""
            if self.kind == "package":
                detail = " → ".join(version for version in (self.old, self.new) if version)
            yield f"{mark} {self.kind} {self.name} {detail}".rstrip()
            return
        yield f"~ file {self.name}"
        lines = difflib.unified_diff(self.old.splitlines(), self.new.splitlines(), lineterm="", n=1)
        yield from (f"    {line}" for line in list(lines)[2:])


def of_recipe(recipe: Recipe, name: str) -> Side:
    """A spec, with the lock that it has."""
    return _side(name, recipe.bake, recipe.plan.image.lock, 0)


def of_image(home: Home, image: store.Image, name: str) -> Side:
    """A published image."""
    folder = home.images / image.id
    lock = parse((folder / "spec.lock").read_text(encoding="utf-8"), f"{image.id}/spec.lock")
    return _side(name, (folder / "bake.yaml").read_text(encoding="utf-8"), lock, image.size)


def changes(old: Side, new: Side) -> tuple[Change, ...]:
    """What turns `old` into `new`, sorted by kind and name; packages only when both have them."""
    known = old.packages is not None and new.packages is not None
    found = [
        *_between("file", old.files, new.files),
        *(_between("package", old.packages or {}, new.packages or {}) if known else ()),
        *_between("unit", dict.fromkeys(old.units, "on"), dict.fromkeys(new.units, "on")),
        *_between("user", dict.fromkeys(old.users, "there"), dict.fromkeys(new.users, "there")),
    ]
    if old.size and new.size and old.size != new.size:
        found.append(Change("size", "disk", f"{old.size}", f"{new.size}"))
    return tuple(found)


def _between(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield Change(kind, name, old.get(name, ""), new.get(name, ""))


def _side(name: str, document: str, lock: Lock | None, size: int) -> Side:
    bake: dict[str, Any] = YAML(typ="safe").load(document)
    enabled = [
        line.split()[2:]
        for script in bake["runcmd"]
        for line in str(script).splitlines()
        if line.startswith("systemctl enable ")
    ]
    return Side(
        name=name,
        packages={p.name: p.version for p in lock.image_packages()} if lock else None,
        files={file["path"]: file["content"] or " " for file in bake["write_files"]},
        users=frozenset(user["name"] for user in bake["users"] if isinstance(user, dict)),
        units=frozenset(unit for units in enabled for unit in units),
        size=size,
    )


def side(home: Home, word: str, read: Any) -> Side:
    """A person's word for one side: a spec file, an image id, or `<spec>@<generation>`.

    `read` makes the recipe of a spec file. Raises UsageError for what is none of these.
    """
    if word.endswith((".yaml", ".yml")) or Path(word).is_file():
        return of_recipe(read(word), word)
    return of_image(home, store.look_up(home, word), word)
