"""What a build came to, and whether there is anything to build at all: quick to import."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from images import store
from images.home import Home
from images.recipe import Recipe, prepare, read_lock
from specs.model import Spec

if TYPE_CHECKING:
    from images.ovens.local import Baked


@dataclass(frozen=True, slots=True)
class Built:
    """An image of the store and its generation. `cached` when it was there already."""

    image: store.Image
    generation: store.Generation
    path: Path
    cached: bool
    seconds: float


def find_built(spec: Spec, spec_file: Path, home: Home) -> Built | None:
    """The image of this spec and lock when it exists, without doing or changing anything else."""
    started = time.monotonic()
    lock = read_lock(spec_file)
    if lock is None:
        return None
    recipe = prepare(spec, spec_file, lock)
    image = store.find(home, recipe.id)
    newest = max(store.generations(home, spec.name), key=lambda g: g.number, default=None)
    if image is None or newest is None or newest.image != image.id:
        return None
    path = store.raw_path(home, image.id)
    return Built(image, newest, path, True, time.monotonic() - started)


def record(recipe: Recipe, baked: Baked, raw: Path, seconds: Mapping[str, float]) -> store.Image:
    """What the store is to know of a bake whose disk is the file `raw`; `seconds` by stage."""
    return store.Image(
        id=recipe.id,
        name=recipe.spec.name,
        digest=baked.disk.digest,
        size=baked.disk.size,
        created=store.now(),
        plan=recipe.digest,
        layers=baked.layers,
        seconds=seconds,
        seen=store.seen(raw),
    )
