"""Back to what served before: the same swap with the roles exchanged, so with the newest data."""

from __future__ import annotations

from images.progress import Progress
from images.promote import records
from images.promote.job import STANDBY, Job, Site, job
from images.promote.observe import REUSABLE, World, look
from images.promote.promote import promote
from images.promote.runs import Outcome, refuse_unfinished
from specs.errors import BakehouseError, UsageError


def rollback(site: Site, progress: Progress, to: int = 0) -> Outcome:
    """Swap to generation `to`, or to the one that was replaced last and still follows.

    A server of it that follows takes over; otherwise a new one is made from its image. Raises as
    `promote`.
    """
    refuse_unfinished(site)
    records.bring(site)
    return promote(target(look(site), to), progress)


def target(world: World, to: int) -> Job:
    """What to go back to. Raises UsageError or BakehouseError when that is not clear."""
    active = world.active()
    if to == active.generation:
        raise UsageError(f"generation {to} serves already", "`invoke status` shows the others")
    if to:
        return job(world.site, "rollback", generation=to)
    spare = [s for s in world.servers if s.label == STANDBY and s.state in REUSABLE]
    if not spare:
        raise BakehouseError(
            f"no earlier server of {world.site.name} follows {active.name}",
            "name a generation, whose image a new server is then made from: "
            "`invoke rollback --to GENERATION` (`invoke generations` lists them)",
        )
    last = max(spare, key=lambda seen: (seen.epoch, seen.name))
    return job(world.site, "rollback", generation=last.generation, disk=False)
