"""How a run does its long pieces: bakes here, apart, or at the vendor; swaps and the rest in the
open."""

from __future__ import annotations

import time

from images import gc
from images.apart import apart
from images.build import build
from images.built import Built
from images.keeping import KEEP
from images.locking import Renewed, lock_again
from images.packer import cloud
from images.progress import Progress
from images.promote import calling, records
from images.promote.job import Site, known_dead
from images.promote.lease import newest
from images.promote.runs import Outcome, refuse_unfinished
from images.recipe import prepare
from images.scheduled.rebuild import Ways
from specs.lock import Lock


def ways(site: Site, progress: Progress, only: str = "", keep: int = KEEP) -> Ways:
    """The long pieces for a spec; `only` as in `invoke update`, `keep` as in `invoke gc`.

    Needs root.
    """
    spec, file, home = site.spec, site.spec_file, site.home

    def refresh() -> Renewed:
        return apart(lambda: lock_again(spec, file, home, Progress(), only, write=False))

    vendor = site.provider.name
    here = vendor == "local"

    def image_id(lock: Lock) -> str:
        if here:
            return prepare(spec, file, lock).id
        return cloud.image_id(spec, file, home, lock, vendor)

    def bake(after: int) -> Built:
        if not here:
            return cloud.build(spec, file, home, progress, vendor, after=after)

        def work() -> tuple[Built, dict[str, float]]:
            inside = Progress()
            return build(spec, file, home, inside, after=after), inside.seconds

        built, seconds = apart(work)
        progress.seconds.update(seconds)
        return built

    def tidy() -> int:
        found = gc.run(home, progress.note, servers=False, everything=False, keep=keep, site=site)
        return sum(garbage.size for garbage in found)

    return Ways(
        recall=lambda: records.bring(site),
        refresh=refresh,
        image_id=image_id,
        build=bake,
        swap=lambda image: calling.promote(site, image=image),
        resume=lambda: resume(site),
        tidy=tidy,
    )


def resume(site: Site) -> Outcome | None:
    """End a swap that was cut short; None when there is none.

    Raises HeldLeaseError while a swap runs.
    """
    claim = newest(site.provider, site.name)
    if claim is None or not claim.held:
        return None
    if not claim.ended(time.time()) and not known_dead(site, claim.owner):
        refuse_unfinished(site)
    return calling.promote(site, resume=True)
