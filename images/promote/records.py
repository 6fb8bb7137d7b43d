"""What the store knows of an image, left with each server that runs it.

Whoever goes on with a run, or swaps back, must know the plans of both servers. A machine that keeps
nothing has baked neither: it asks them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Final

from images import store
from images.home import Home, write_whole
from images.promote.job import Site
from images.promote.reach import Contact
from images.providers.base import GENERATION, IMAGE
from specs.errors import BakehouseError

PLACE: Final = "/var/lib/bakehouse/image.json"
"""On a server: its image's files by their name."""

FILES: Final = ("plan.json", "spec.lock", "report.json", store.RECORD)
"""Of the store's folder of an image, the record last: it is what makes the rest count."""


def leave(home: Home, contact: Contact, image: str) -> None:
    """Leave the record of its image with a server. Repeatable."""
    line = f"umask 077 && mkdir -p $(dirname {PLACE}) && cat >{PLACE}.new && mv {PLACE}.new {PLACE}"
    done = contact.shell(line, stdin=pack(home, image))
    if done.code != 0:
        raise BakehouseError(
            f"{contact.name}: the record of its image could not be written: {done.stderr.strip()}",
            "see whether its disk is full",
        )


def bring(site: Site) -> None:
    """Ask servers for the records of images that this home does not know; best effort: whoever
    needs one that nobody has says so. Raises BakehouseError where their numbers and ours differ."""
    for server in site.provider.servers(site.name):
        image = server.labels.get(IMAGE, "")
        if server.status == "off" or not image or store.recorded(site.home, image):
            continue
        number = server.labels.get(GENERATION, "")
        if number.isdecimal():
            refuse_twice(site.home, site.name, int(number), image)
            with suppress(BakehouseError):
                told = site.contact(server).shell(f"cat {PLACE}")
                if told.code == 0:
                    adopt(site.home, site.name, int(number), image, told.stdout)


def refuse_twice(home: Home, spec: str, number: int, image: str) -> None:
    """Raises BakehouseError when this home has another image as that generation."""
    for known in store.generations(home, spec):
        if known.number == number and known.image != image:
            raise BakehouseError(
                f"{spec}@{number} is {known.image} in {home.root}, and {image} at a server: two "
                "machines have counted apart",
                f"go on at the machine that baked {image}, or delete "
                f"{home.generations / spec / f'{number}.json'} when {known.image} never served",
            )


def pack(home: Home, image: str) -> str:
    """The record of an image as one line of JSON."""
    folder = home.images / image
    return json.dumps({name: (folder / name).read_text(encoding="utf-8") for name in FILES}) + "\n"


def adopt(home: Home, spec: str, number: int, image: str, packed: str) -> None:
    """Keep a record that `pack` made, and the generation that it belongs to; the disk is elsewhere.

    It is the server's word: the image is none that this home baked (`store.baked`). Raises
    BakehouseError when it is no record of that image, or the number is another one's here.
    """
    try:
        files = json.loads(packed)
        texts = {name: str(files[name]) for name in FILES}
        record = store.parse(texts[store.RECORD])
    except (ValueError, TypeError, KeyError) as error:
        raise BakehouseError(f"no record of an image ({error})", "bake it again") from error
    if (record.id, record.name) != (image, spec):
        raise BakehouseError(f"the record of {record.id}, not of {image}", "bake it again")
    refuse_twice(home, spec, number, image)
    (home.images / record.id / store.DOCUMENT).unlink(missing_ok=True)  # as of a damaged image
    for name, text in texts.items():
        write_whole(home.images / record.id / name, text)
    store.keep_generation(home, store.Generation(spec, number, image, record.created))
