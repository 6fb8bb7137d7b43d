"""Which generations stay, and what of the store and its caches nothing needs beyond them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from images import history, marks, store, stored_plan
from images.disk import Base, Tools
from images.garbage import Garbage, size_of
from images.home import Home, clear_work, write_whole
from images.ovens import layers
from images.ovens.install import Layer
from specs.errors import BakehouseError
from specs.lock import STACK, parse

KEEP: Final = 3
"""Generations of each spec that stay besides those in use and pinned."""

LOOK: Final = 7 * 86_400
"""Seconds for which an image that failed its proof is kept for a look."""

IDLE: Final = 30 * 86_400
"""Seconds after which a payload folder may go: it is made again in seconds."""


@dataclass(frozen=True, slots=True)
class Stays:
    """The generations that stay, and every image of the store that does."""

    generations: frozenset[tuple[str, int]]
    images: frozenset[str]


def stays(home: Home, in_use: Collection[str], busy: Collection[str], keep: int) -> Stays:
    """What stays: images `in_use` by servers, what serves and served before it by the journal,
    pinned generations, the last `keep` of each spec that are not bad, and all of a spec in `busy`.
    """
    every = list(store.generations(home))
    kept: set[store.Generation] = set()
    for name in sorted({generation.name for generation in every}):
        ours = [generation for generation in every if generation.name == name]
        bad = set(marks.all_bad(home, name))
        numbers = {*marks.pinned(home, name), *served(home, name)[-2:]}
        good = [generation for generation in ours if generation.image not in bad]
        kept |= {g for g in ours if g.number in numbers or g.image in in_use or name in busy}
        kept |= set(good[-keep:] if keep else ())
    images = {generation.image for generation in kept} | set(in_use)
    images |= {image for image in _stored(home) if image.rpartition("-")[0] in busy}
    return Stays(frozenset((g.name, g.number) for g in kept), frozenset(images))


def served(home: Home, spec: str) -> list[int]:
    """The generations that came to serve, by the journal, in their order, each at its last time."""
    found: dict[int, None] = {}
    for entry in history.journal(home, spec).deeds():
        if entry["event"] in ("promote", "rollback") and entry["outcome"] != "failed":
            number = entry.get("generation", 0)
            found.pop(number, None)
            found[number] = None
    return list(found)


def garbage(
    home: Home, kept: Stays, busy: Collection[str] = (), now: float | None = None
) -> list[Garbage]:
    """What can go when only `kept` is needed, as of `now` (Unix seconds); not of specs in `busy`.

    To be freed under the build lock: what a build is about to use has no generation yet.
    """
    moment = time.time() if now is None else now
    needed = _needed(home, kept.images)
    return [
        *_generations(home, kept),
        *_folders(home.images, "image", kept.images),
        *_folders(home.layers, "layer", needed.layers),
        *_folders(home.root / "oci-layers", "container layer", needed.layers),
        *_folders(home.bases, "base disk", needed.bases),
        *_packages(home, needed.packages),
        *_old(home.payloads.glob("*"), "payload", moment - IDLE),
        *_old([home.root / "failed"], "the image that failed its proof", moment - LOOK),
        *_work(home),
        *_journals(home, busy, moment - history.KEPT),
    ]


@dataclass(frozen=True, slots=True)
class _Needed:
    """What the images that stay are made of, by name."""

    layers: frozenset[str]
    bases: frozenset[str]
    packages: frozenset[str]


def _needed(home: Home, images: Collection[str]) -> _Needed:
    """An image whose plan an older version wrote needs its packages alone: it is not baked again
    with these layers."""
    ids: set[str] = set()
    bases: set[str] = set()
    packages: set[str] = set()
    for image in sorted(images):
        try:
            text = (home.images / image / "spec.lock").read_text(encoding="utf-8")
            lock = parse(text, f"{image}/spec.lock")
        except (BakehouseError, OSError):
            continue
        packages |= {package.sha256 for package in lock.packages()}
        try:
            found = layers.identities(stored_plan.load(home, image).image, lock)
        except (BakehouseError, KeyError):
            continue
        ids |= set(found.values())
        bases |= set(_bases(found))
    return _Needed(frozenset(ids), frozenset(bases), frozenset(packages))


def _bases(ids: Mapping[str, str]) -> Iterator[str]:
    """The folders of the base disks of an image, as the local oven names them."""
    stack = {name: Layer(Path(ids[name]), 0) for name in STACK if name in ids}
    base: Base | None = layers.base(stack, Tools(ids.get("tools", ids["core"]), Path()))
    while base:
        yield base.key
        base = base.below


def _stored(home: Home) -> list[str]:
    return sorted(folder.name for folder in home.images.glob("[!.]*"))


def _generations(home: Home, kept: Stays) -> Iterator[Garbage]:
    """The record of the newest one stays: numbers are given once."""
    every = list(store.generations(home))
    newest = {generation.name: generation.number for generation in every}
    for generation in every:
        name, number = generation.name, generation.number
        if (name, number) not in kept.generations and number != newest[name]:
            file = home.generations / name / f"{number}.json"
            free = partial(file.unlink, missing_ok=True)
            yield Garbage(f"generation {name}@{number}", size_of(file), free)


def _folders(place: Path, what: str, needed: Collection[str]) -> Iterator[Garbage]:
    """Folders known by their names; one that was half removed is found again by its dot."""
    for folder in sorted(place.glob("*")):
        if folder.name not in needed:
            yield Garbage(f"{what} {folder.name.lstrip('.')}", size_of(folder), _gone(folder))


def _gone(folder: Path) -> Callable[[], None]:
    """Take the name away first: what is half there must not look whole."""

    def free() -> None:
        hidden = folder.with_name(f".{folder.name.lstrip('.')}")
        if hidden != folder:
            folder.rename(hidden)
        if hidden.is_dir():
            shutil.rmtree(hidden)
        else:
            hidden.unlink(missing_ok=True)

    return free


def _packages(home: Home, needed: Collection[str]) -> Iterator[Garbage]:
    """All together: there are hundreds."""
    found = [file for file in home.packages.glob("*/*") if file.name.split(".")[0] not in needed]

    def free() -> None:
        for file in found:
            file.unlink(missing_ok=True)

    if found:
        yield Garbage(f"{len(found)} files of packages", sum(map(size_of, found)), free)


def _old(places: Iterable[Path], what: str, before: float) -> Iterator[Garbage]:
    for place in sorted(places):
        if place.exists() and place.stat().st_mtime < before:
            yield Garbage(f"{what} {place.name}", size_of(place), _gone(place))


def _work(home: Home) -> Iterator[Garbage]:
    """What killed builds left; the build lock is held, so nobody uses it."""
    if home.work.exists() and any(home.work.iterdir()):
        yield Garbage(
            "work of builds that were cut short", size_of(home.work), partial(clear_work, home)
        )


def _journals(home: Home, busy: Collection[str], before: float) -> Iterator[Garbage]:
    """Lines that are too old to look back at."""
    for name in (name for name in history.names(home) if name not in busy):
        log = history.journal(home, name)
        every = list(log.entries())
        young = [e for e in every if datetime.fromisoformat(e["time"]).timestamp() >= before]
        if len(young) < len(every):
            text = "".join(f"{json.dumps(entry)}\n" for entry in young)
            saved = log.path.stat().st_size - len(text.encode())
            what = f"{len(every) - len(young)} old lines of {name}'s journal"
            yield Garbage(what, saved, partial(write_whole, log.path, text))
