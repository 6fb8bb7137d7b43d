"""What a provider knows of a spec's generations, so that a runner that keeps nothing can go on.

A note `<spec>.generation-<n>` names the image and when it was baked; servers have it as a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from images import store
from images.promote.job import ACTIVE, Site
from images.providers.base import GENERATION, IMAGE, ROLE

NOTED: Final = 3
"""Generations whose notes stay at the provider, besides that of what serves; of older ones the
images' labels tell."""


@dataclass(frozen=True, slots=True)
class Known:
    """A generation by its number and image; `created` in Unix seconds, 0 when nobody knows."""

    number: int
    image: str
    created: float = 0.0


def serving(site: Site) -> Known | None:
    """The generation whose server has the role `active`, by its label; nobody is asked by SSH."""
    for server in site.provider.servers(site.name):
        if server.labels.get(ROLE) == ACTIVE:
            number = server.labels.get(GENERATION, "0")
            image = server.labels.get(IMAGE, "")
            return Known(int(number) if number.isdecimal() else 0, image, created(site, image))
    return None


def newest(site: Site) -> Known | None:
    """The newest generation that this home or the provider knows."""
    return max([*ours(site), *noted(site)], key=lambda known: known.number, default=None)


def ours(site: Site) -> list[Known]:
    """The generations that this home knows, oldest first."""
    found = store.generations(site.home, site.name)
    return [Known(one.number, one.image, _seconds(one.created)) for one in found]


def noted(site: Site) -> list[Known]:
    """The generations that the provider has notes of, oldest first."""
    return sorted(_noted(site), key=lambda known: known.number)


def _noted(site: Site) -> Iterator[Known]:
    pattern = re.compile(rf"{re.escape(site.name)}\.generation-(\d+)")
    for note in site.provider.notes(f"{site.name}.generation-"):
        match = pattern.fullmatch(note.name)
        if match:
            when = note.labels.get("created", "0")
            born = float(when) if when.isdecimal() else 0.0
            yield Known(int(match[1]), note.labels.get("image", ""), born)


def before(site: Site, image: str) -> int:
    """The number that this image's generation must exceed: one less than its own, if it has one
    already, else the largest that the provider knows."""
    every = noted(site)
    own = [known.number for known in every if known.image == image]
    if own:
        return max(own) - 1
    labels = [server.labels.get(GENERATION, "0") for server in site.provider.servers(site.name)]
    numbers = [int(label) for label in labels if label.isdecimal()]
    return max([*numbers, *(known.number for known in every)], default=0)


def note(site: Site, generation: store.Generation) -> None:
    """Let other machines know; old notes go, but that of what serves."""
    labels = {"image": generation.image, "created": str(int(_seconds(generation.created)))}
    site.provider.make_note(f"{site.name}.generation-{generation.number}", labels)
    serves = serving(site)
    for known in noted(site)[:-NOTED]:
        if serves is None or known.image != serves.image:
            site.provider.delete_note(f"{site.name}.generation-{known.number}")


def created(site: Site, image: str) -> float:
    """When an image was baked, in Unix seconds: by its record, whose disk may be elsewhere, else by
    the provider; else 0."""
    found = store.recorded(site.home, image)
    if found:
        return _seconds(found.created)
    return max((known.created for known in noted(site) if known.image == image), default=0.0)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
