"""Notes of the local cloud: files whose names are taken atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from images.home import sync_folder
from images.providers.base import Note
from images.providers.local_state import Cloud, checked, read, word, write
from specs.errors import BakehouseError


def make_note(cloud: Cloud, name: str, labels: Mapping[str, str]) -> bool:
    """Write the note under a name of its own, then link it: link(2) gives a name only once."""
    final = _path(cloud, name)
    draft = final.with_name(f".{name}.{os.getpid()}-{os.urandom(4).hex()}")
    write(draft, checked(labels))
    try:
        os.link(draft, final)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    sync_folder(final.parent)
    return True


def notes(cloud: Cloud, prefix: str) -> Sequence[Note]:
    """All notes whose name starts so, by name."""
    files = {file.stem: file for file in cloud.notes.glob("[!.]*.json")}
    found = [(name, read(files[name])) for name in sorted(files) if name.startswith(prefix)]
    return [Note(name, labels) for name, labels in found if labels is not None]


def change_note(cloud: Cloud, name: str, labels: Mapping[str, str]) -> None:
    """Replace its labels. Raises BakehouseError when it is gone."""
    with cloud.registry():
        if not _path(cloud, name).exists():
            raise BakehouseError(f"the note {name} is gone", "somebody else deleted it: look again")
        write(_path(cloud, name), checked(labels))


def delete_note(cloud: Cloud, name: str) -> None:
    """The note is gone."""
    with cloud.registry(), suppress(FileNotFoundError):
        _path(cloud, name).unlink()
        sync_folder(cloud.notes)


def _path(cloud: Cloud, name: str) -> Path:
    return cloud.notes / f"{word(name, 'the name of a note')}.json"
