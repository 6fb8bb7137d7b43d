"""What a build would do anew: each layer of packages, kept or made, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from images.home import Home
from images.ovens import layers
from images.recipe import Recipe
from specs.lock import STACK, Lock

NAMED: Final = 4
"""Packages that a reason names."""

FIRST: Final = "there is no generation yet"
OURS: Final = "this version of Bakehouse makes it in another way"


@dataclass(frozen=True, slots=True)
class Step:
    """One layer, or one of the steps after them. `why` is empty when it is kept."""

    name: str
    kept: bool
    why: str = ""

    def line(self) -> str:
        """The step as a person reads it."""
        return f"  {self.name}: kept" if self.kept else f"~ {self.name}: {self.why}"


@dataclass(frozen=True, slots=True)
class Before:
    """What the newest generation was baked from: its lock and its `bake.yaml`."""

    lock: Lock
    document: str


def steps(recipe: Recipe, home: Home, before: Before | None) -> tuple[Step, ...]:
    """The steps of a bake that is to happen, in order; `before` is None without a generation.

    A recipe without a lock has no steps yet.
    """
    lock = recipe.plan.image.lock
    if lock is None:
        return ()
    ids = layers.identities(recipe.plan.image, lock)
    there = {identity for identity in ids.values() if (home.layers / identity).exists()}
    found = tuple(of_layers(ids, there, lock, before.lock if before else None))
    anew = [step.name for step in found if not step.kept and step.name in STACK]
    if anew:
        why = f"it runs over {anew[0]}, which is made anew"
    elif before is None:
        why = FIRST
    else:
        why = OURS if before.document == recipe.bake else "bake.yaml changed"
    return (
        *found,
        Step("cloud-init", False, why),
        Step("disk", False, "cloud-init runs again"),
        Step("verify", False, "every new image is proven"),
    )


def of_layers(
    ids: Mapping[str, str], there: Collection[str], lock: Lock, before: Lock | None
) -> Iterator[Step]:
    """A step for each layer in `ids` (set to id); those whose id is in `there` are kept."""
    below = ""
    for name, identity in ids.items():
        kept = identity in there
        stands_on = below if name in STACK else "core"
        yield Step(name, kept, "" if kept else _why(name, stands_on, lock, before))
        if name in STACK:
            below = name


def _why(name: str, below: str, lock: Lock, before: Lock | None) -> str:
    """The nearest reason: its own packages, those below it, or how it is made."""
    if before is None:
        return FIRST
    own = _changed(name, lock, before)
    if own:
        more = f" and {len(own) - NAMED} more" if len(own) > NAMED else ""
        return f"{', '.join(own[:NAMED])}{more} changed"
    lower = STACK[: STACK.index(below) + 1] if below else ()
    moved = [under for under in lower if _changed(under, lock, before)]
    if moved:
        return f"it stands on {moved[0]}, which changed"
    return f"it is not in the cache, or {OURS}"


def _changed(name: str, lock: Lock, before: Lock) -> list[str]:
    """Names of the packages of a set that are not the same in both locks, sorted."""
    differing = set(lock.sets.get(name, ())) ^ set(before.sets.get(name, ()))
    return sorted({package.name for package in differing})
