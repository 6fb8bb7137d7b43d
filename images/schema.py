"""cloud-init's own schema and its own check, from the locked release, never this machine's."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from images.ovens import chamber
from images.run import run
from specs.errors import BakehouseError

SCHEMA: Final = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
_INSIDE: Final = "/run/bakehouse-documents"


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


def check_in(root: Path, documents: Mapping[str, str]) -> None:
    """Let the cloud-init installed in the tree `root` check `documents` (file name to text).

    Needs root, for the container. Raises CommandError with cloud-init's own words.
    """
    with tempfile.TemporaryDirectory(prefix="bakehouse-") as folder:
        for name, text in documents.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        for name in documents:
            chamber.enter(
                root,
                command(f"{_INSIDE}/{name}"),
                binds={_INSIDE: Path(folder)},
                env={"PYTHONDONTWRITEBYTECODE": "1"},
            )


def command(config: str) -> list[str]:
    """cloud-init's own check of one file."""
    return ["cloud-init", "schema", "--config-file", config]
