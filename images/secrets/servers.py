"""A changed secret goes to every server that runs: to each what its own image needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from images import store
from images.calls import told_of
from images.promote import records
from images.promote.job import Site, plan_of
from images.providers.base import IMAGE, Server
from images.secrets.deliver import deliver, restart_readers
from images.secrets.gather import gather
from specs.errors import BakehouseError
from specs.needs import needed


@dataclass(slots=True)
class Delivery:
    """What became of one server: the names of secrets that `changed`, the apps that were
    `restarted` for them, and the `error` that kept it from the rest."""

    server: str
    changed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    error: BakehouseError | None = None

    def line(self) -> str:
        """For a person."""
        if self.error and not self.changed:
            return f"{self.server}: nothing was delivered: {self.error}"
        again = f"; restarted: {', '.join(self.restarted)}" if self.restarted else ""
        but = f", but: {self.error}" if self.error else ""
        return f"{self.server}: {', '.join(self.changed) or 'nothing'} changed{but}{again}"

    def as_data(self) -> dict[str, Any]:
        """For `--json`."""
        found = {
            "server": self.server,
            "changed": list(self.changed),
            "restarted": list(self.restarted),
        }
        why = {"error": self.error.message, "hint": self.error.hint} if self.error else {}
        return {**found, **why}


def deliver_all(site: Site) -> list[Delivery]:
    """Deliver to each server that runs, also after one failed; apps that read what changed restart.

    Raises BakehouseError when the provider does not answer, or two machines have counted apart.
    """
    records.bring(site)  # another machine may have baked
    running = [one for one in site.provider.servers(site.name) if one.status == "running"]
    return [_delivered(site, server) for server in running]


def _delivered(site: Site, server: Server) -> Delivery:
    found = Delivery(server.name)
    try:
        contact = site.contact(server)
        door, image = contact.door, plan_of(site, server)
        if image is None:  # by the spec alone, secrets that its apps need would disappear
            contact.shell("true")  # which tells what keeps this machine out, if anything does
            raise BakehouseError(
                f"{server.name} runs {server.labels.get(IMAGE) or 'an image without a label'}, "
                "whose plan neither this machine nor that server tells: which secrets it needs is "
                "not known",
                "deliver from the machine that baked it, or promote a new image",
            )
        named = server.labels[IMAGE]
        ours = store.baked(site.home, named)
        values = gather(site.spec, site.spec_file, image, named=named, baked=ours)
        found.changed = deliver(door, values)
        found.restarted = restart_readers(door, found.changed, needed(image))
    except (BakehouseError, OSError) as error:
        found.error = told_of(error) if isinstance(error, OSError) else error
    return found
