"""What of a spec at its provider nothing needs: images, and servers that were left behind.

It goes by what the provider itself knows, so it is the same from whatever machine it is asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from images import keeping, marks
from images.garbage import Garbage
from images.packer.folder import temporary_names
from images.promote.alone import runs
from images.promote.job import ACTIVE, GIVEN_UP, STANDBY, Site
from images.promote.lease import newest
from images.providers.base import GENERATION, IMAGE, PROVEN, ROLE, Server, Stored
from images.scheduled import numbers

ROLES: Final = (ACTIVE, STANDBY, GIVEN_UP)
"""Roles of servers that stay also when they are off; who was given up may have the newest data."""


def busy(site: Site) -> bool:
    """Whether somebody swaps servers of the spec now."""
    claim = newest(site.provider, site.name)
    return claim is not None and not claim.ended(time.time())


def garbage(site: Site, keep: int) -> list[Garbage]:
    """Servers of the spec that are off and have no role, and its images but for what servers are
    made of, what serves and served before it, pinned generations, and the last `keep` that are
    not bad; and what builds at a vendor left. Nothing while the spec is being swapped, and of
    builds nothing while one runs.
    """
    if busy(site):
        return []
    provider, building = site.provider, runs(site, "build")
    every = provider.servers(site.name)
    images = provider.images(site.name)
    idle = [one for one in every if one.status == "off" and one.labels.get(ROLE, "") not in ROLES]
    staying = {one.labels.get(IMAGE, "") for one in every if one not in idle}
    needed = staying | set(_kept(site, dict(_known(site, every, images)), keep))
    found = [
        Garbage(f"server {one.name} at {provider.name}", 0, partial(provider.delete_server, one.id))
        for one in idle
    ]
    if not building:
        found += provider.left_overs(temporary_names(site.name))
    return found + [
        Garbage(
            f"image {image.id} at {provider.name}",
            image.size,
            partial(provider.delete_image, image.id),
        )
        for image in images
        if image.id not in needed and (PROVEN in image.labels or not building)
    ]


def _kept(site: Site, known: Mapping[int, str], keep: int) -> Iterator[str]:
    """The images that stay, whether a server is made of them or not; `known` maps generations to
    their images."""
    home, provider, name = site.home, site.provider, site.name
    good = [n for n in sorted(known) if marks.bad(home, provider, name, known[n]) is None]
    numbers_ = {*marks.pinned(home, name), *marks.pinned_at(provider, name), *good[-keep:]}
    numbers_ |= set(keeping.served(home, name)[-2:])
    yield from (known[number] for number in numbers_ if number in known)


def _known(
    site: Site, servers: Iterable[Server], images: Iterable[Stored]
) -> Iterator[tuple[int, str]]:
    """Generations and their images: by our store, by labels, and last by the notes."""
    yield from ((one.number, one.image) for one in numbers.ours(site))
    labelled = [(one.labels, one.labels.get(IMAGE, "")) for one in servers]
    labelled += [(one.labels, one.id) for one in images]
    for labels, image in labelled:
        number = labels.get(GENERATION, "")
        if number.isdecimal() and image:
            yield int(number), image
    yield from ((one.number, one.image) for one in numbers.noted(site))
    yield from marks.pinned_images(site.provider, site.name)
