"""Images at Hetzner: snapshots whose labels say which of ours they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from hcloud import APIException
from hcloud.images import Image

from images.garbage import Garbage
from images.providers import hetzner_servers
from images.providers.base import IMAGE, SPEC, BaseImage, Stored
from images.providers.hetzner_api import Api
from images.providers.local_state import checked, word
from specs.errors import BakehouseError, UsageError

SYSTEM: Final = {"trixie": "debian-13"}
ARCHITECTURE: Final = {"amd64": "x86", "arm64": "arm"}


def find(api: Api, image_id: str) -> str:
    """The handle of one of our images. Raises BakehouseError when it is not there."""
    found = _snapshots(api, f"{IMAGE}=={word(image_id, 'the id of an image')}")
    if not found:
        raise BakehouseError(
            f"Hetzner has no snapshot of the image {image_id}",
            "make it there: invoke build-image --provider hetzner",
        )
    return str(found[-1].id)


def listed(api: Api, spec: str) -> Sequence[Stored]:
    """All snapshots of a spec's images, the oldest first."""
    return [
        Stored(
            id=found.labels.get(IMAGE, ""),
            handle=str(found.id),
            size=int((found.image_size or 0) * 1e9),
            created=found.created.timestamp() if found.created else 0,
            labels=dict(found.labels),
        )
        for found in _snapshots(api, f"{SPEC}=={word(spec, 'the name of a spec')}")
        if IMAGE in found.labels
    ]


def delete(api: Api, image_id: str) -> None:
    """Every snapshot of this image of ours is gone."""
    for found in _snapshots(api, f"{IMAGE}=={word(image_id, 'the id of an image')}"):
        delete_one(api, str(found.id))


def delete_one(api: Api, handle: str) -> None:
    """The snapshot of this number is gone."""

    def attempt() -> None:
        try:
            api.client.images.delete(Image(id=int(handle)))
        except APIException as error:
            if error.code != "not_found":
                raise

    api.repeat(f"delete the snapshot {handle}", attempt)


def base_image(api: Api, release: str, architecture: str) -> BaseImage:
    """The vendor's image of a Debian release. Raises UsageError when it has none."""
    name, kind = SYSTEM.get(release, ""), ARCHITECTURE.get(architecture, "")
    if not (name and kind):
        raise UsageError(f"Hetzner has no image of {release} for {architecture}")
    found = api.ask(
        f"look for {name}",
        lambda: api.client.images.get_by_name_and_architecture(name=name, architecture=kind),
    )
    if found is None:
        raise UsageError(f"Hetzner has no image {name} for {architecture}", "see its console")
    return BaseImage(str(found.id), name)


def label(api: Api, handle: str, labels: Mapping[str, str]) -> None:
    """Replace the labels of an image."""
    wanted = checked(labels)

    def attempt() -> None:
        api.client.images.get_by_id(int(handle)).update(labels=wanted)

    api.repeat(f"label the image {handle}", attempt)


def left_overs(api: Api, names: re.Pattern[str]) -> list[Garbage]:
    """Servers that are called so: what a build that died has left."""
    return [
        Garbage(
            f"the server {one.name} at Hetzner",
            0,
            partial(hetzner_servers.delete, api, str(one.id)),
        )
        for one in api.ask("list servers", api.client.servers.get_all)
        if names.fullmatch(one.name)
    ]


def _snapshots(api: Api, selector: str) -> list[Any]:
    found = api.ask(
        "list snapshots",
        lambda: api.client.images.get_all(type=["snapshot"], label_selector=selector),
    )
    # Sorted out here: the client (2.27) sends its page size in the place of a status.
    return sorted((one for one in found if one.status == "available"), key=lambda one: one.id)
