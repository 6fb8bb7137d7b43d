"""Payloads: content too large or too binary for `bake.yaml`, each a folder named by its digest."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from specs import layout
from specs.plan import Payload

SERVER: Final = Path(__file__).parent / "server"


@dataclass(frozen=True, slots=True)
class Ours:
    """A payload of our own and the folder that it comes from."""

    payload: Payload
    folder: Path


def server() -> Ours:
    """The programs that run on servers, as a payload for `/usr/lib/bakehouse`."""
    digest = hashlib.sha256()
    for file in _programs():
        digest.update(f"{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return Ours(Payload("server", digest.hexdigest(), layout.LIB), SERVER)


def copy_server(to: Path) -> None:
    """Lay the programs into a folder."""
    for file in _programs():
        shutil.copyfile(file, to / file.name)


def _programs() -> list[Path]:
    return sorted(file for file in SERVER.glob("*.py") if file.name != "__init__.py")
