"""Whether an image that a spec asks for is there already."""

from __future__ import annotations

import time
from pathlib import Path

from images import store
from images.built import Built
from images.home import Home
from images.recipe import prepare, read_lock
from specs.model import Spec


def find_existing(spec: Spec, spec_file: Path, home: Home) -> Built | None:
    """The image of this spec and lock when it exists, without doing or changing anything else."""
    started = time.monotonic()
    lock = read_lock(spec_file)
    if lock is None:
        return None
    recipe = prepare(spec, spec_file, lock)
    image = store.find(home, recipe.id)
    newest = store.newest(home, spec.name)
    if image is None or newest is None or newest.image != image.id:
        return None
    path = store.raw_path(home, image.id)
    return Built(image, newest, path, True, time.monotonic() - started)
