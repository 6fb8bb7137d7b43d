"""Published images and the generations that point at them.

```
images/<id>/image.raw     the disk        images/<id>/image.json    the record (class Image)
images/<id>/bake.yaml     what made it    images/<id>/spec.lock     what it was made of
images/<id>/plan.json     its plan        images/<id>/report.json   its proof
images/<id>/sbom.json     what is in it   images/<id>/provenance.json  what it came from
images/<id>/stamp-*.json  what its files looked like (`images.stamp`)
generations/<spec>/<n>.json
```
An image appears whole, by one rename, and only with a passing report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from images.home import Home, sync_folder, write_whole
from specs.errors import BakehouseError, UsageError

RAW: Final = "image.raw"
RECORD: Final = "image.json"
DOCUMENT: Final = "bake.yaml"


@dataclass(frozen=True, slots=True)
class Image:
    """A published image. `digest` is that of `images.disk.chunks`, `size` bytes of the raw disk.

    `seen` is the raw file's size, mtime and inode when it was published: as long as they are the
    same, the file is taken to be what it was. `seconds` holds the time of each stage of its bake.
    """

    id: str
    name: str
    digest: str
    size: int
    created: str
    plan: str
    layers: tuple[str, ...]
    seconds: Mapping[str, float]
    seen: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Generation:
    """The `number`-th image of a spec, counted from 1."""

    name: str
    number: int
    image: str
    created: str


def now() -> str:
    """The time in UTC, as records show it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seen(raw: Path) -> tuple[int, int, int]:
    """What tells cheaply whether a file was touched: size in bytes, mtime in ns, inode."""
    stat = raw.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def raw_path(home: Home, image_id: str) -> Path:
    """The disk of a published image."""
    return home.images / image_id / RAW


def find(home: Home, image_id: str) -> Image | None:
    """The image of this id, or None when there is none or its disk is not as it was published."""
    image = recorded(home, image_id)
    try:
        return image if image and seen(raw_path(home, image_id)) == image.seen else None
    except FileNotFoundError:
        return None


def recorded(home: Home, image_id: str) -> Image | None:
    """The image of this id by its record alone: its disk may be at a provider, or nowhere."""
    if not image_id or Path(image_id).name != image_id:
        return None
    try:
        return parse((home.images / image_id / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def baked(home: Home, image_id: str) -> bool:
    """Whether this home baked it. Of one that a server told of (`images.promote.records`) nothing
    is here but files by which that server could say anything."""
    named = bool(image_id) and Path(image_id).name == image_id
    return named and (home.images / image_id / DOCUMENT).exists()


def parse(text: str) -> Image:
    """A record. Raises ValueError, TypeError or KeyError for what is none."""
    data = json.loads(text)
    return Image(**{**data, "layers": tuple(data["layers"]), "seen": tuple(data["seen"])})


def publish(home: Home, staged: Path, image: Image) -> None:
    """Make the folder `staged` the image's: durable first, then visible by one rename.

    A damaged folder of the same id steps aside, so that readers always find one or the other.
    """
    write_whole(staged / RECORD, json.dumps(asdict(image), indent=1) + "\n")
    for file in staged.iterdir():
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    home.images.mkdir(parents=True, exist_ok=True)
    target = home.images / image.id
    if target.exists():
        target.rename(home.work / f"damaged-{image.id}")
    staged.rename(target)
    sync_folder(home.images)


def generations(home: Home, name: str = "") -> Iterator[Generation]:
    """All generations of a spec, or of every spec, oldest first.

    Raises BakehouseError for a record that is damaged.
    """
    for folder in sorted(home.generations.glob("*")):
        if name in ("", folder.name):
            files = [file for file in folder.glob("*.json") if file.stem.isdecimal()]
            yield from map(_generation, sorted(files, key=lambda file: int(file.stem)))


def _generation(file: Path) -> Generation:
    try:
        found = Generation(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BakehouseError(
            f"{file}: not the record of a generation ({error})",
            "delete the file; `invoke build-image` records the image again",
        ) from error
    if (found.name, found.number) != (file.parent.name, int(file.stem)):
        raise BakehouseError(f"{file}: the record of another generation", "delete the file")
    return found


def newest(home: Home, name: str) -> Generation | None:
    """The generation of the largest number of a spec. Raises as `generations`."""
    return max(generations(home, name), key=lambda g: g.number, default=None)


def add_generation(home: Home, name: str, image_id: str, after: int = 0) -> Generation:
    """The generation of this image: the newest when that is it already, else a new one, whose
    number is larger than all of this home and than `after` (what the provider knows)."""
    last = newest(home, name)
    if last is not None and last.image == image_id:
        return last
    number = max(last.number if last else 0, after) + 1
    new = Generation(name, number, image_id, now())
    keep_generation(home, new)
    return new


def keep_generation(home: Home, new: Generation) -> None:
    """Write a generation down."""
    file = home.generations / new.name / f"{new.number}.json"
    write_whole(file, json.dumps(asdict(new)) + "\n")


def look_up(home: Home, word: str, *, disk: bool = True) -> Image:
    """The image that a person means by `word`: an image id, or `<spec>@<generation>`; with its
    disk, unless `disk` says that its record will do.

    Raises UsageError, naming what there is, when there is no such image.
    """
    name, _, number = word.partition("@")
    image_id = word
    if number:
        ids = [g.image for g in generations(home, name) if name and str(g.number) == number]
        image_id = ids[0] if ids else ""
    found = (find if disk else recorded)(home, image_id) if image_id else None
    if found is None:
        known = [f"{g.name}@{g.number} ({g.image})" for g in generations(home)]
        raise UsageError(
            f"no image {word!r} in {home.root}",
            "there is " + ", ".join(known) if known else "run `invoke build-image` first",
        )
    return found


def report(home: Home, image_id: str) -> dict[str, Any]:
    """The report that let the image in."""
    text = (home.images / image_id / "report.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data
