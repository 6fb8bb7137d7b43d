"""A throwaway copy of an image for a person to look at, with a shell; gone when they leave."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from images.expectations import expectations, secret_names
from images.lab import lab
from images.run import interact
from images.verify import Kind, await_units, plant, throwaway
from specs.plan import Plan

PATIENCE = 60.0
"""Seconds to wait for services; a person may want to see one that does not start."""


def shell(image: Path, plan: Plan, kind: Kind, say: Callable[[str], None]) -> int:
    """Boot a raw image, let its services start with made-up secrets, and open a shell in it.

    Returns the shell's exit code. Needs root; raises BakehouseError when it does not boot.
    """
    with lab() as place:
        say(f"booting a throwaway ({kind})")
        with throwaway(place, image, plan, kind) as target:
            planted = {name: secrets.token_hex(16) for name in secret_names(plan.image)}
            plant(target, planted)
            say("waiting for its services")
            await_units(target, expectations(plan, planted), PATIENCE)
            say(f"from another terminal: {' '.join(target.door.command())}")
            return interact(target.door.command(options=("-t",)))
