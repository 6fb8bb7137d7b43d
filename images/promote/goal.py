"""What a run wants, as its lease says it: enough for another machine to go on with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from images import store
from images.promote.job import Job, Site, Verb, job
from images.promote.lease import Claim
from images.providers.base import GENERATION
from specs.errors import BakehouseError

VERBS: Final[dict[str, Verb]] = {
    "promote": "promote",
    "rollback": "rollback",
    "first": "first",
    "restore": "restore",
    "blue-lost": "blue-lost",
}

OVER: Final = {"over": "1"}
"""In the lease of a run that was given up: whoever goes on with it only tidies up."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The job, the name of the server that serves before it ("": none), and the id of the standby
    that shall serve ("": one is made for it). `begun` is the epoch of the run that began it, 0 in
    that run itself; `over` says that it was given up, and only tidying up is left.
    """

    job: Job
    blue: str
    green: str = ""
    begun: int = 0
    over: bool = False

    def labels(self) -> dict[str, str]:
        """As it stands in the lease."""
        return {
            "verb": self.job.verb,
            "generation": str(self.job.generation),
            "from": self.blue,
            **({"to": self.green} if self.green else {}),
            **({"begun": str(self.begun)} if self.begun else {}),
            **(OVER if self.over else {}),
        }


def never_begun(site: Site, claim: Claim) -> bool:
    """Whether no server was made for it, by a machine that is gone with the image: nothing was
    changed then, and nothing can be gone on with."""
    number = claim.goal.get("generation", "")
    known = any(str(one.number) == number for one in store.generations(site.home, site.name))
    servers = site.provider.servers(site.name)
    return not known and all(one.labels.get(GENERATION) != number for one in servers)


def read_goal(site: Site, claim: Claim) -> Goal:
    """The goal of an earlier run. Raises BakehouseError when this version does not know it."""
    found = claim.goal
    try:
        wanted = job(
            site,
            VERBS[found["verb"]],
            generation=int(found["generation"]),
            disk=False,
        )
        begun = int(found.get("begun", claim.number))
        return Goal(wanted, found["from"], found.get("to", ""), begun, "over" in found)
    except (KeyError, ValueError) as error:
        raise BakehouseError(
            f"the lease of {site.name} names no goal that this version knows ({error})",
            "end the run with the version that began it",
        ) from error
