"""A throwaway copy of an image for a person to look at, with a shell; gone when they leave."""

from __future__ import annotations

import secrets
from typing import Final

from images import store, stored_plan
from images.expectations import expectations
from images.home import Home
from images.lab import lab
from images.progress import Progress
from images.run import interact
from images.secrets.deliver import deliver
from images.verify import Kind, await_units, throwaway
from specs.needs import needed

PATIENCE: Final = 60.0
"""Seconds to wait for services; a person may want to see one that does not start."""


def look_inside(image: store.Image, home: Home, kind: Kind) -> int:
    """Boot a stored image, let its services start with made-up secrets, and open a shell in it.

    Returns the shell's exit code. Needs root; raises BakehouseError when it does not boot.
    """
    plan = stored_plan.load(home, image.id)
    note = Progress().note
    with lab() as place:
        note(f"booting a throwaway of {image.id} ({kind})")
        with throwaway(place, store.raw_path(home, image.id), plan, kind) as target:
            planted = {name: secrets.token_hex(16) for name in needed(plan.image)}
            deliver(target.door, planted)
            note("waiting for its services")
            await_units(target.door, expectations(plan, planted), PATIENCE)
            return interact(target.door.command(options=("-t",)))
