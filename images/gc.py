"""What nothing needs any more. Whoever has the lease of a spec keeps all that is of that spec."""

from __future__ import annotations

import time
from collections.abc import Callable

from images import keeping, provider_garbage
from images.garbage import Garbage, collect
from images.history import journal, names
from images.home import Home, build_lock
from images.keeping import KEEP
from images.promote.job import Site
from images.promote.lease import newest
from images.providers import local_garbage
from images.providers.base import IMAGE, SPEC
from images.providers.local import Local
from images.providers.local_state import records
from specs.errors import UsageError

Say = Callable[[str], None]


def find(
    home: Home, *, servers: bool, everything: bool, keep: int = KEEP, site: Site | None = None
) -> list[Garbage]:
    """Left-overs of killed runs, and generations with all that they alone need, but for what
    `keeping.stays`; with `servers` also servers that are neither active nor standby. With `site`
    what is at that spec's provider, too.

    With `everything` the whole local cloud of this home, whatever runs there, and nothing of the
    store. Needs root.
    """
    provider = Local(home)
    if everything:
        return local_garbage.all_of(provider.cloud)
    every = records(provider.cloud)
    specs = {found.labels.get(SPEC, "") for found in every} | set(names(home))
    busy = {spec for spec in specs if spec and _leased(provider, spec)}
    images = {found.image for found in every}
    there: list[Garbage] = []
    if site and site.provider.name != provider.name:  # the local cloud is looked at below
        busy |= {site.name} if provider_garbage.busy(site) else set()
        images |= {one.labels.get(IMAGE, "") for one in site.provider.servers(site.name)}
        there = provider_garbage.garbage(site, keep)
    kept = keeping.stays(home, images, busy, keep)
    return [
        *there,
        *local_garbage.garbage(provider.cloud, servers=servers, busy=busy, images=kept.images),
        *keeping.garbage(home, kept, busy),
    ]


def run(
    home: Home,
    say: Say,
    *,
    servers: bool,
    everything: bool,
    keep: int,
    site: Site | None = None,
) -> list[Garbage]:
    """Find and free, one line to `say` for each; what was freed. Waits while a build runs.

    Raises as `find`, UsageError for a `keep` below 1.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: the newest generation always stays", "give 1 or more")
    with build_lock(home, "gc", say):
        found = find(home, servers=servers, everything=everything, keep=keep, site=site)
        collect(found, say)
    record(home, found)
    return found


def record(home: Home, found: list[Garbage]) -> None:
    """A line in each journal: what goes is the home's, not one spec's."""
    if found:
        freed = sum(garbage.size for garbage in found)
        for name in names(home):
            journal(home, name).record("gc", "done", freed=freed, things=len(found))


def _leased(provider: Local, spec: str) -> bool:
    claim = newest(provider, spec)
    return claim is not None and not claim.ended(time.time())
