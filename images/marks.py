"""Marks on what was baked: pinned generations stay, bad images are not tried again.

`<home>/marks/<spec>/<generation>.pinned`, and `<home>/marks/<spec>/<image>.bad` with the reason;
both are noted at the provider, too, for runs on other machines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from images.history import stamp
from images.home import Home, write_whole
from images.providers.base import Provider
from images.store import Generation, generations

NOTED: Final = 3
"""Bad images whose notes stay at the provider: older ones come from archives that have moved on."""


@dataclass(frozen=True, slots=True)
class Bad:
    """Why an image is not tried again, and since when (UTC)."""

    why: str
    time: str


def pin(home: Home, provider: Provider | None, generation: Generation) -> None:
    """Keep a generation, whatever its age."""
    write_whole(_pin(home, generation), "")
    if provider:
        name = f"{_pins(generation.name)}{generation.number}"
        provider.make_note(name, {"image": generation.image})


def unpin(home: Home, provider: Provider | None, generation: Generation) -> bool:
    """Let it age again; False when it was not pinned."""
    path, number = _pin(home, generation), generation.number
    found = path.exists()
    path.unlink(missing_ok=True)
    if provider and number in pinned_at(provider, generation.name):
        provider.delete_note(f"{_pins(generation.name)}{number}")
        return True
    return found


def pinned(home: Home, spec: str) -> frozenset[int]:
    """The generations of a spec that are pinned."""
    files = _folder(home, spec).glob("*.pinned")
    return frozenset(int(file.stem) for file in files if file.stem.isdecimal())


def pinned_at(provider: Provider, spec: str) -> frozenset[int]:
    """The generations of a spec that are pinned at its provider."""
    words = (note.name.removeprefix(_pins(spec)) for note in provider.notes(_pins(spec)))
    return frozenset(int(word) for word in words if word.isdecimal())


def pinned_images(provider: Provider, spec: str) -> Iterator[tuple[int, str]]:
    """The same with their images."""
    for note in provider.notes(_pins(spec)):
        word = note.name.removeprefix(_pins(spec))
        if word.isdecimal():
            yield int(word), note.labels.get("image", "")


def mark_bad(home: Home, provider: Provider | None, spec: str, image: str, why: str) -> None:
    """Remember that an image did not prove itself."""
    write_whole(_bad(home, spec, image), json.dumps({"why": why, "time": stamp()}) + "\n")
    if provider:
        since = {"image": image, "since": str(int(time.time()))}
        provider.make_note(_note(spec, image), since)
        known = provider.notes(_note(spec, ""))
        for old in sorted(known, key=lambda note: note.labels.get("since", ""))[:-NOTED]:
            provider.delete_note(old.name)


def bad(home: Home, provider: Provider | None, spec: str, image: str) -> Bad | None:
    """Why an image is not to be tried, or None when it may be."""
    try:
        return Bad(**json.loads(_bad(home, spec, image).read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError):
        return Bad("its mark cannot be read", "")
    name = _note(spec, image)
    if provider and any(note.name == name for note in provider.notes(name)):
        return Bad("another machine marked it bad", "")
    return None


def forgive(home: Home, provider: Provider | None, spec: str, image: str) -> None:
    """Let an image be tried again."""
    _bad(home, spec, image).unlink(missing_ok=True)
    if provider:
        provider.delete_note(_note(spec, image))


def all_bad(home: Home, spec: str) -> Iterator[str]:
    """The images of a spec that this machine knows to be bad."""
    return (file.stem for file in sorted(_folder(home, spec).glob("*.bad")))


@dataclass(frozen=True, slots=True)
class Marked:
    """A generation with its marks."""

    generation: Generation
    pinned: bool
    bad: Bad | None

    def line(self) -> str:
        """For a person."""
        one = self.generation
        marks = ["pinned"] if self.pinned else []
        marks += [f"bad: {self.bad.why}"] if self.bad else []
        return "  ".join([f"{one.name}@{one.number}", one.image, one.created, *marks])

    def as_data(self) -> dict[str, Any]:
        """For `--json`."""
        why = self.bad.why if self.bad else None
        return {**asdict(self.generation), "pinned": self.pinned, "bad": why}


def marked(home: Home, spec: str = "") -> Iterator[Marked]:
    """All generations, or those of one spec, with the marks that this machine knows."""
    for one in generations(home, spec):
        kept = one.number in pinned(home, one.name)
        yield Marked(one, kept, bad(home, None, one.name, one.image))


def _folder(home: Home, spec: str) -> Path:
    return home.root / "marks" / spec


def _pin(home: Home, generation: Generation) -> Path:
    return _folder(home, generation.name) / f"{generation.number}.pinned"


def _bad(home: Home, spec: str, image: str) -> Path:
    return _folder(home, spec) / f"{Path(image).name}.bad"


def _pins(spec: str) -> str:
    """How the notes of its pins begin."""
    return f"{spec}.pinned-"


def _note(spec: str, image: str) -> str:
    """A name that is no lease's: a spec's name has no dot."""
    return f"{spec}.bad-{image.rpartition('-')[2]}"
