"""Images at DigitalOcean: snapshots of droplets, and custom images, which come from a URL alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

from images.garbage import Garbage
from images.providers import digitalocean_tags as tags
from images.providers.base import IMAGE, SPEC, BaseImage, Stored
from images.providers.digitalocean_api import Api, MissingError, SilentError
from images.providers.digitalocean_servers import drop_tag, put_tag
from images.providers.local_state import checked, word
from specs.errors import BakehouseError

IMPORT: Final = 3600.0
"""Seconds that the vendor may take to fetch and convert an image."""

RELEASES: Final = {"bookworm": "12", "trixie": "13", "forky": "14"}
GIB: Final = 1 << 30
GONE: Final = ("deleted", "retired")
"""States in which the list may show an image for a while."""

Image = Mapping[str, Any]


def find(api: Api, image_id: str) -> Image | None:
    """The private image with this id of ours: by its labels, else by its name; the newest one."""
    ours = _private(api)
    labelled = [one for one in ours if _labels(one).get(IMAGE) == image_id]
    named = [one for one in ours if one["name"] == image_id]
    return max(labelled or named, key=lambda one: int(one["id"]), default=None)


def ready(api: Api, image_id: str, url: str, region: str) -> str:
    """The image's number, once servers in the region can be made of it.

    Fetched from `url`, in which `{image}` is its id, when it is not there. Raises BakehouseError
    when it is nowhere, or the vendor cannot use it.
    """
    found = find(api, word(image_id, "an image's id"))
    if found is None:
        if not url:
            raise BakehouseError(
                f"DigitalOcean has no image {image_id}",
                "run `invoke build-image --provider digitalocean`, or put the raw image where the "
                "vendor can fetch it and name that in deploy.image_url",
            )
        found = _fetch(api, image_id, url.replace("{image}", image_id), region)
    number = int(found["id"])
    found = _available(api, number)
    if region not in (found.get("regions") or ()):
        _transfer(api, number, region)
    return str(number)


def listed(api: Api, spec: str) -> Sequence[Stored]:
    """All images of a spec, the oldest first."""
    found = [
        Stored(
            id=labels[IMAGE],
            handle=str(one["id"]),
            size=int(float(one.get("size_gigabytes") or 0) * GIB),
            created=_seconds(one.get("created_at") or ""),
            labels=labels,
        )
        for one in _private(api)
        if (labels := _labels(one)).get(SPEC) == spec and IMAGE in labels
    ]
    return sorted(found, key=lambda one: (one.created, int(one.handle)))


def set_labels(api: Api, number: str, labels: Mapping[str, str]) -> None:
    """Replace an image's labels, the new ones in one call."""
    before = api.ask(api.client.images.get, int(number))["image"].get("tags") or ()
    if SPEC in labels and tags.spec_tag(labels[SPEC]) not in before:
        put_tag(api, tags.spec_tag(labels[SPEC]), "image", number)
    put_tag(api, tags.labels_tag(checked(labels), tags.number(before) + 1), "image", number)
    for tag in tags.own(before):
        drop_tag(api, tag)


def delete_all(api: Api, image_id: str) -> None:
    """Every image with this id of ours is gone. Raises SilentError when the list never says so."""
    for _ in api.waiting.pauses():
        found = find(api, image_id)
        if found is None:
            return
        delete(api, str(found["id"]))
    raise SilentError(
        f"DigitalOcean: {image_id} is listed still, {api.waiting.patience:g} s after its deletion",
        "try again in some minutes",
    )


def delete(api: Api, number: str) -> None:
    """The image of this number is gone, with the tags that were its own."""
    try:
        found = api.ask(api.client.images.get, int(number))["image"]
    except MissingError:
        return
    with suppress(MissingError):
        api.ask(api.client.images.delete, int(number))
    for tag in tags.own(found.get("tags") or ()):
        drop_tag(api, tag)


def left_overs(api: Api, names: re.Pattern[str]) -> list[Garbage]:
    """Snapshots called so that have no labels: their maker died before it gave them any."""
    return [
        Garbage(f"the image {one['name']}", 0, partial(delete, api, str(one["id"])))
        for one in _private(api)
        if names.fullmatch(one["name"]) and not _labels(one)
    ]


def base(api: Api, release: str, architecture: str) -> BaseImage:
    """The vendor's image of a Debian release. Raises BakehouseError when it has none."""
    slug = f"debian-{RELEASES.get(release, release)}-x64"
    try:
        if architecture != "amd64":
            raise MissingError(404, "it has machines of amd64 only")
        found = api.ask(api.client.images.get, slug)["image"]
    except MissingError as error:
        raise BakehouseError(
            f"DigitalOcean has no image of Debian {release} for {architecture}",
            "use `way: transfer`, or another provider",
        ) from error
    return BaseImage(str(found["id"]), str(found["slug"]))


def _fetch(api: Api, image_id: str, url: str, region: str) -> Image:
    spec = image_id.rpartition("-")[0] or image_id
    body = {
        "name": image_id,
        "url": url,
        "distribution": "Debian",
        "region": region,
        "tags": tags.tags({SPEC: spec, IMAGE: image_id}),
    }
    made = api.make(api.client.images.create_custom, body=body, find=lambda: find(api, image_id))
    found: Image = made.get("image", made)
    return found


def _available(api: Api, number: int) -> Image:
    """The image once it can be used."""
    deadline = api.waiting.clock() + IMPORT
    while True:
        found: Image = api.ask(api.client.images.get, number)["image"]
        if found["status"] == "available":
            return found
        if found.get("error_message") or found["status"] in GONE:
            why = found.get("error_message") or f"it is {found['status']}"
            delete(api, str(number))
            raise BakehouseError(
                f"DigitalOcean cannot use the image {found['name']}: {why}",
                "see that its URL answers HEAD and GET without a password",
            )
        if api.waiting.clock() > deadline:
            raise SilentError(f"DigitalOcean: {found['name']} is not ready yet", "try again")
        api.waiting.sleep(5.0)


def _transfer(api: Api, number: int, region: str) -> None:
    """Copy the image to another region."""
    api.until(
        lambda: region in api.ask(api.client.images.get, number)["image"]["regions"],
        lambda: api.once(
            api.client.image_actions.post, number, body={"type": "transfer", "region": region}
        ),
    )


def _private(api: Api) -> list[Image]:
    found = api.pages(api.client.images.list, "images", private=True)
    return [one for one in found if one["status"] not in GONE]


def _labels(one: Image) -> dict[str, str]:
    return tags.labels(one.get("tags") or ())


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
