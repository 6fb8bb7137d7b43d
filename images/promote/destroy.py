"""The end of a deployment: everything of a spec at its provider, listed and then deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from images.garbage import Garbage, collect
from images.packer.folder import temporary_names
from images.promote.alone import runs
from images.promote.job import Site
from images.provider_garbage import busy
from specs.errors import BakehouseError, UsageError


def everything(site: Site) -> list[Garbage]:
    """What there is, in the order in which it can go: who uses a thing goes before it."""
    provider, name = site.provider, site.name

    def thing(what: str, size: int, free: Callable[[], None]) -> Garbage:
        return Garbage(f"{what} at {provider.name}", size, free)

    return [
        *(
            thing(f"server {one.name}", 0, partial(provider.delete_server, one.id))
            for one in provider.servers(name)
        ),
        *provider.left_overs(temporary_names(name)),
        *(
            thing(f"volume {one.name}", one.size, partial(provider.delete_volume, one.name))
            for one in provider.volumes(name)
        ),
        *(
            thing(f"image {one.id}", one.size, partial(provider.delete_image, one.id))
            for one in provider.images(name)
        ),
        thing(f"{name}'s floating IP, network and notes", 0, partial(provider.forget, name)),
    ]


def destroy(site: Site, confirm: str, say: Callable[[str], None]) -> list[Garbage]:
    """Delete it all, its data too; what was freed. A second run goes on where one was cut short.

    Raises UsageError unless `confirm` is the spec's name, BakehouseError while somebody swaps its
    servers or builds for it.
    """
    if confirm != site.name:
        raise UsageError(
            f"--confirm {confirm} is not the name of this spec",
            f"--confirm {site.name} deletes all of it, with its data",
        )
    if busy(site):
        raise BakehouseError(
            f"somebody swaps servers of {site.name} now", "`invoke status` says who"
        )
    for work in ("build", "rebuild"):
        if runs(site, work):
            raise BakehouseError(f"a {work} of {site.name} is going on", "wait for its end")
    found = everything(site)
    collect(found, say)
    return found
