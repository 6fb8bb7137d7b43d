"""Volumes of the local cloud: files with a file system, each behind a loop device of its own.

A server sees the device at `/dev/disk/by-id/bakehouse-<name>`, from the moment of `attach` and over
its reboots: `devices/` in the server's folder is bound there, and a node made in it shows at once.
The server mounts it itself, as on a cloud. Who has it stands in `volume.json`; device and node
follow that and are made again when this machine was rebooted. A volume that is mounted on a running
server is not taken away from it, since that server could go on writing.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from images.providers import local_power
from images.providers.base import Volume
from images.providers.local_disks import DEVICE_FOLDER, await_free, loops_of, make_disk
from images.providers.local_state import DEVICES, DISK, Cloud, checked, read, record, word, write
from images.run import run
from specs.errors import BakehouseError

SPEC: Final = "spec"


def volumes(cloud: Cloud, spec: str) -> Sequence[Volume]:
    """All volumes with this spec's label, by name."""
    return [found for found in _all(cloud) if found.labels.get(SPEC) == spec]


def of(cloud: Cloud, server: str) -> Sequence[Volume]:
    """The volumes that a server has."""
    return [found for found in _all(cloud) if found.server == server]


def create(cloud: Cloud, name: str, size: int, labels: Mapping[str, str]) -> Volume:
    """The volume of this name, made when there is none."""
    with cloud.registry():
        if found := _find(cloud, name):
            return found
        make_disk(_disk(cloud, name), size)
        return _write(cloud, Volume(name, size, "", checked(labels)))


def attach(cloud: Cloud, name: str, server: str) -> str:
    """Give it to a server, and return the device's path there. Raises BakehouseError when taken."""
    with cloud.registry():
        record(cloud, server)
        found = _known(cloud, name)
        if found.server not in ("", server):
            raise BakehouseError(
                f"the volume {name} belongs to the server {found.server}", "detach it there first"
            )
        _write(cloud, Volume(name, found.size, server, found.labels))
        connect(cloud, server)
    return f"/{DEVICE_FOLDER}/{_node(name)}"


def detach(cloud: Cloud, name: str) -> None:
    """Take it away from its server; nothing happens when it has none.

    Raises BakehouseError when a running server has it mounted.
    """
    with cloud.registry():
        found = _known(cloud, name)
        _disconnect(cloud, found)
        _write(cloud, Volume(name, found.size, "", found.labels))


def delete(cloud: Cloud, name: str) -> None:
    """The volume and its data are gone. Nothing happens when it was gone before."""
    with cloud.registry():
        if found := _find(cloud, name):
            _disconnect(cloud, found)
        shutil.rmtree(cloud.volumes / word(name, "a volume's name"), ignore_errors=True)


def let_go(cloud: Cloud, server: str) -> None:
    """Take all volumes from a server that is off and goes away; the registry must be held."""
    for found in of(cloud, server):
        _disconnect(cloud, found)
        _write(cloud, Volume(found.name, found.size, "", found.labels))


def connect(cloud: Cloud, server: str) -> None:
    """Make the devices of a server's volumes where they are missing; the registry must be held."""
    for found in of(cloud, server):
        disk = _disk(cloud, found.name)
        loops = loops_of(disk)
        if not loops:
            loops = run(["losetup", "--find", "--show", str(disk)]).stdout.split()
        device = Path(loops[0]).stat().st_rdev
        node = cloud.folder(server) / DEVICES / _node(found.name)
        if not node.exists() or node.stat().st_rdev != device:
            node.unlink(missing_ok=True)
            node.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(node, stat.S_IFBLK | 0o660, device)


def _disconnect(cloud: Cloud, found: Volume) -> None:
    disk = _disk(cloud, found.name)
    for loop in loops_of(disk):
        if found.server and _in_use(loop) and local_power.status(cloud, found.server) != "off":
            raise BakehouseError(
                f"the server {found.server} has the volume {found.name} mounted",
                "unmount it there, or power the server off",
            )
        run(["losetup", "--detach", loop])
    if found.server:
        (cloud.folder(found.server) / DEVICES / _node(found.name)).unlink(missing_ok=True)
    await_free(disk)


def _in_use(device: str) -> bool:
    """Whether it is mounted anywhere: the kernel then refuses to give it exclusively (open(2))."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


def _all(cloud: Cloud) -> list[Volume]:
    found = [_find(cloud, folder.name) for folder in sorted(cloud.volumes.glob("*"))]
    return [volume for volume in found if volume]


def _find(cloud: Cloud, name: str) -> Volume | None:
    data = read(cloud.volumes / word(name, "a volume's name") / "volume.json")
    return Volume(**data) if data else None


def _known(cloud: Cloud, name: str) -> Volume:
    found = _find(cloud, name)
    if found is None:
        raise BakehouseError(f"there is no volume {name}", "create it first")
    return found


def _write(cloud: Cloud, volume: Volume) -> Volume:
    write(cloud.volumes / volume.name / "volume.json", asdict(volume))
    return volume


def _disk(cloud: Cloud, name: str) -> Path:
    return cloud.volumes / name / DISK


def _node(name: str) -> str:
    return f"bakehouse-{name}"
