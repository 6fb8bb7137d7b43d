"""cloud-init's own schema, from the locked release, never this machine's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from specs.errors import BakehouseError

SCHEMA: Final = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"


def find_schema(layers: Sequence[Path]) -> Path:
    """The schema file of the cloud-init that is installed in `layers`, lowest first.

    Raises BakehouseError when there is none.
    """
    for layer in reversed(layers):
        if (layer / SCHEMA).exists():
            return layer / SCHEMA
    raise BakehouseError(f"the locked packages bring no {SCHEMA}", "lock a cloud-init from 22.3 on")
