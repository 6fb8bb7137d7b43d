"""What of the local cloud can go: left-overs, servers out of use, or all of it.

It is found by name: of control groups, of the namespace, of files below `<home>/cloud/`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from images.garbage import Garbage, size_of
from images.groups import GROUP, end_groups, group_root
from images.providers import local_network, local_servers, local_volumes
from images.providers.base import ROLE, SPEC
from images.providers.local_network import MARKS
from images.providers.local_state import Cloud, Record, records
from images.run import run

KEPT: Final = ("active", "standby")
"""Roles of servers that are in use."""

OLD: Final = 3600
"""Seconds after which an unfinished file is not being written any more."""


def garbage(
    cloud: Cloud, *, servers: bool, busy: Collection[str], images: Collection[str] = ()
) -> list[Garbage]:
    """Left-overs; with `servers` also servers out of use. What is of a spec in `busy` stays, and so
    do `images`, which wait to be used."""
    every = records(cloud)
    unused = [one for one in every if servers and not _in_use(one, busy)]
    staying = [one for one in every if one not in unused]
    found = [*_lost_clouds(), *_keepers(cloud, every), *_unfinished(cloud)]
    found += [_server(cloud, one) for one in unused]
    if not busy:
        found += _images(cloud, {*images, *(one.image for one in staying)})
    if not staying and local_network.exists(cloud):
        found.append(Garbage(f"network {cloud.name}", 0, partial(_remove_network, cloud)))
    return found


def all_of(cloud: Cloud) -> list[Garbage]:
    """The whole cloud: its servers, volumes with their data, network and files."""
    every = records(cloud)
    found = [*_lost_clouds(), *_keepers(cloud, every)]
    found += [_server(cloud, one) for one in every]
    for folder in sorted(cloud.volumes.glob("*")):
        free = partial(local_volumes.delete, cloud, folder.name)
        found.append(Garbage(f"volume {folder.name}", size_of(folder), free))
    found += _images(cloud, set())
    if local_network.exists(cloud):
        found.append(Garbage(f"network {cloud.name}", 0, partial(_remove_network, cloud)))
    if cloud.root.exists():
        found.append(Garbage(f"files of {cloud.root}", 0, partial(_remove, cloud.root)))
    return found


def _in_use(server: Record, busy: Collection[str]) -> bool:
    return server.labels.get(ROLE) in KEPT or server.labels.get(SPEC, "") in busy


def _server(cloud: Cloud, server: Record) -> Garbage:
    role = server.labels.get(ROLE) or "without a role"
    what = f"server {server.name}, {role}"
    free = partial(local_servers.delete, cloud, server.id)
    return Garbage(what, size_of(cloud.folder(server.id)), free)


def _keepers(cloud: Cloud, every: list[Record]) -> Iterator[Garbage]:
    """Control groups of servers that are no more."""
    known = {cloud.group(one.id) for one in every}
    for group in sorted((group_root() / GROUP).glob(f"{cloud.name}-*")):
        if group.name not in known:
            yield Garbage(f"left-over keeper {group.name}", 0, partial(end_groups, group.name))


def _unfinished(cloud: Cloud) -> Iterator[Garbage]:
    """Files and folders that were being written or deleted when their process ended."""
    for place in (cloud.servers, cloud.images, cloud.notes, cloud.floating):
        for draft in sorted(place.glob(".*")):
            if draft.name.startswith(".gone-") or time.time() - draft.stat().st_mtime > OLD:
                yield Garbage(f"unfinished {draft.name}", size_of(draft), partial(_remove, draft))


def _images(cloud: Cloud, needed: Collection[str]) -> Iterator[Garbage]:
    """Images that no server is made of; those of the store stay there."""
    for raw in sorted(cloud.images.glob("[!.]*.raw")):
        if raw.stem not in needed:
            size = size_of(raw) if raw.stat().st_nlink == 1 else 0
            yield Garbage(f"image {raw.stem} in the cloud", size, partial(_remove, raw))


def _remove_network(cloud: Cloud) -> None:
    """Unless a server came in the meantime."""
    with cloud.registry():
        if not records(cloud):
            local_network.remove(cloud)


def _lost_clouds() -> Iterator[Garbage]:
    """Networks and keepers of clouds whose folder was deleted."""
    for mark in sorted(MARKS.glob("*")):
        lost = Cloud(mark.readlink())
        if not lost.root.exists():
            yield Garbage(f"cloud {lost.name} of {lost.root.parent}", 0, partial(_forget, lost))


def _forget(lost: Cloud) -> None:
    end_groups(f"{lost.name}-*")
    listed = run(["losetup", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"]).stdout
    for line in listed.splitlines():
        loop, _, file = line.partition(" ")
        if file.startswith(f"{lost.root}/"):
            run(["losetup", "--detach", loop])
    local_network.remove(lost)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
