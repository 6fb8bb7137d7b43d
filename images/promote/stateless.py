"""Strategy `none`: nothing is kept on the server, so green only has to be well before it serves.

What must not run twice still does not: blue's workers end before green's begin.
"""

from __future__ import annotations

from typing import Final

from images.hosts.certificates import renew_all
from images.promote import pair, records
from images.promote.first import settle
from images.promote.green import create
from images.promote.observe import PRIMARY
from images.promote.runs import Run
from images.promote.steps import STEPS as REPLICA
from images.promote.steps import Probe, Step, lease_probe, nothing, preflight_probe, refuse
from images.secrets.deliver import deliver
from specs.errors import BakehouseError


def up_probe(run: Run) -> Probe:
    """Green lets us in."""
    if run.green is None:
        return Probe(False, "no server of this image yet")
    try:
        state = run.green.program("guard", "status")["state"]
    except BakehouseError as error:
        return Probe(False, error.message)
    return Probe(run.ready or state in PRIMARY, f"{run.green.name} is {state}")


def make(run: Run) -> None:
    """Boot green with its secrets, and wait until all of it runs."""
    green = run.green or create(run)
    pair.wait_for(green)
    deliver(green.door, run.secrets)
    records.leave(run.site.home, green, run.job.image.id)
    renew_all(run.site, green)
    green.program("guard", "standby", str(run.epoch))
    settle(green)
    run.ready = True


def retired_probe(run: Run) -> Probe:
    """Blue's workers are gone, and will not come back."""
    state = run.blue.program("guard", "status")["state"]
    return Probe(state not in PRIMARY, f"{run.blue.name} is {state}")


def retire(run: Run) -> None:
    """Blue's web apps serve on, for those who are still connected."""
    run.blue.program("guard", "retire", str(run.epoch), timeout=180)


def serving_probe(run: Run) -> Probe:
    """Green works."""
    state = run.there().program("guard", "status")["state"]
    run.swapped = state in PRIMARY
    return Probe(run.swapped, f"{run.there().name} is {state}")


def serve(run: Run) -> None:
    """Green's workers begin. Blue is retired, which is all that a claim wants to know here."""
    green, epoch = run.there(), str(run.epoch)
    green.program("guard", "standby", epoch)
    green.program("guard", "claim", epoch, "--peer-off")
    green.program("guard", "serve", epoch)
    green.shell(
        "systemctl start --no-block $(systemctl list-unit-files --state=enabled --no-legend "
        "'bakehouse-*' | cut -d' ' -f1)"
    )


STEPS: Final = (
    Step(0, "lease", lease_probe, nothing, "stop"),
    Step(1, "preflight", preflight_probe, refuse, "stop"),
    Step(2, "green is up", up_probe, make, "drop"),
    Step(4, "blue's workers stopped", retired_probe, retire, "forward"),
    Step(9, "green's workers started", serving_probe, serve, "forward"),
    *REPLICA[-3:],
)
