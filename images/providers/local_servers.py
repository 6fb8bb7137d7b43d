"""Servers of the local cloud: made, labelled, looked at, deleted."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from images.garbage import size_of
from images.home import sync_folder
from images.providers import local_floating, local_network, local_power, local_volumes
from images.providers.base import Order, Server, Stored
from images.providers.local_disks import make_disk
from images.providers.local_state import (
    CONSOLE,
    DEVICES,
    DISK,
    LOCK,
    Cloud,
    Record,
    checked,
    keep,
    new_record,
    record,
    records,
    word,
)
from images.run import run
from specs.errors import BakehouseError, UsageError


def add_image(cloud: Cloud, raw: Path, image_id: str) -> str:
    """Give the raw image a second name in the cloud, so that it stays as long as its servers.

    On another file system it is copied.
    """
    target = cloud.raw(word(image_id, "an image's id"))
    if not target.exists():
        with cloud.registry():
            target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{image_id}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        try:
            os.link(raw, draft)
        except FileNotFoundError as error:
            raise BakehouseError(f"{raw}: no such image", "bake it again") from error
        except OSError:
            run(["cp", "--sparse=always", "--reflink=auto", str(raw), str(draft)])
        draft.rename(target)
        sync_folder(target.parent)
    return image_id


def images(cloud: Cloud, spec: str) -> list[Stored]:
    """The images that are called after a spec, the oldest first."""
    name = re.compile(rf"{re.escape(spec)}-[0-9a-f]{{12}}")
    files = [file for file in cloud.images.glob("*.raw") if name.fullmatch(file.stem)]
    found = [Stored(f.stem, f.stem, _alone(f), f.stat().st_mtime) for f in files]
    return sorted(found, key=lambda one: (one.created, one.id))


def _alone(raw: Path) -> int:
    """Bytes that go with this name of the image: none while the store has another one."""
    return size_of(raw) if raw.stat().st_nlink == 1 else 0


def delete_image(cloud: Cloud, image_id: str) -> None:
    """Its name in the cloud is gone. Nothing happens when it was gone before.

    Raises BakehouseError while there is a server of it: its next boot needs it.
    """
    with cloud.registry():
        holder = next((one.name for one in records(cloud) if one.image == image_id), "")
        if holder:
            raise BakehouseError(f"{holder} boots from {image_id}", "delete the server first")
        cloud.raw(word(image_id, "an image's id")).unlink(missing_ok=True)


def create(cloud: Cloud, order: Order, further: Sequence[str] = (), metadata: str = "") -> Record:
    """The server of this order, switched on; one that was left half made is finished.

    `further` are addresses, with the width of their network, that its interface has beside its own.

    Raises UsageError when its name belongs to a server of another image.
    """
    labels = checked(order.labels)
    with cloud.registry():
        if not cloud.raw(order.image).exists():
            raise UsageError(f"there is no image {order.image}", "call `image` first")
        found = by_name(cloud, word(order.name, "a server's name"))
        if found is None:
            new = new_record(cloud, order.name, order.image, order.user_data, order.disk)
            found = replace(new, labels=labels, further=tuple(further), metadata=metadata)
            keep(cloud, found)
    if found.image != order.image:
        raise UsageError(
            f"{order.name} is a server of the image {found.image}",
            "delete it, or take another name",
        )
    return found if found.made else _finish(cloud, found.id)


def by_name(cloud: Cloud, name: str) -> Record | None:
    """The server of this name, which is given only once."""
    return next((found for found in records(cloud) if found.name == name), None)


def _finish(cloud: Cloud, server: str) -> Record:
    """Make what the server needs, one maker at a time; every part appears whole."""
    folder = cloud.folder(server)
    with (folder / "making").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = record(cloud, server)
        if found.made:
            return found
        make_disk(folder / DISK, found.disk)
        (folder / LOCK).touch()
        (folder / CONSOLE).touch()
        (folder / DEVICES).mkdir(exist_ok=True)
        power_on(cloud, server)
        with cloud.registry():
            done = replace(record(cloud, server), made=True)
            keep(cloud, done)
        return done


def power_on(cloud: Cloud, server: str) -> None:
    """Switch it on; the network and its volumes' devices are made again when they are gone."""
    with cloud.registry():
        if local_network.ensure(cloud):
            local_floating.follow(cloud)
        local_volumes.connect(cloud, server)
    local_power.switch_on(cloud, server)


def set_labels(cloud: Cloud, server: str, labels: Mapping[str, str]) -> None:
    """Replace its labels."""
    with cloud.registry():
        keep(cloud, replace(record(cloud, server), labels=checked(labels)))


def delete(cloud: Cloud, server: str) -> None:
    """Off, out of the list in one step, then its files. Nothing happens when it is gone."""
    folder = cloud.folder(word(server, "a server's id"))
    if folder.exists():
        local_power.cut(cloud, server)
        with cloud.registry():
            local_floating.let_go(cloud, server)
            local_volumes.let_go(cloud, server)
            folder.rename(folder.with_name(f".gone-{server}"))
    for gone in cloud.servers.glob(".gone-*"):
        shutil.rmtree(gone, ignore_errors=True)


def view(cloud: Cloud, found: Record) -> Server:
    """The server as callers see it."""
    return Server(
        id=found.id,
        name=found.name,
        status=local_power.status(cloud, found.id),
        labels=dict(found.labels),
        address=found.address.v4,
        address6=found.address.v6,
        private=found.address.v4,
        volumes=tuple(volume.name for volume in local_volumes.of(cloud, found.id)),
    )
