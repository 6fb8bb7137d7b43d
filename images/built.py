"""What a build came to, and its record: quick to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from images import store

if TYPE_CHECKING:
    from images.ovens.local import Baked
    from images.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Built:
    """An image of the store and its generation. `cached` when it was there already."""

    image: store.Image
    generation: store.Generation
    path: Path
    cached: bool
    seconds: float


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
