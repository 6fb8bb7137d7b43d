"""cloud-init's own schema, from the locked release, never this machine's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from images.run import run
from specs.errors import BakehouseError

SCHEMA: Final = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"


def unpack(deb: Path, into: Path) -> list[str]:
    """Unpack a package's files below `into`; nothing of it is installed or run."""
    return ["dpkg-deb", "--extract", str(deb), str(into)]


def schema_from_deb(deb: Path, into: Path) -> Path:
    """The schema file of the cloud-init package `deb`, unpacked below the folder `into`.

    Raises CommandError when `deb` is no package, BakehouseError when it holds no schema.
    """
    schema = into / SCHEMA
    if not schema.exists():
        run(unpack(deb, into))
    if not schema.exists():
        raise BakehouseError(f"{deb.name} holds no {SCHEMA}", "lock a cloud-init from 22.3 on")
    return schema
