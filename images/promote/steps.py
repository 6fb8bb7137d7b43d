"""The steps of a swap, as a table: what each one is called, how to see that it is done, what to do.

Each is probed, done, probed again and recorded (`promote.promote`). Steps 3 to 11 run on green, as
one unit that needs nobody (`bakehouse.swap`): here they are started, watched and probed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from images.promote import ending, green, moving, preflight, watching
from images.promote.job import DISK, plan_of
from images.promote.observe import PRIMARY
from images.promote.reach import RefusedError, UnreachableError
from images.promote.runs import Run
from specs.errors import BakehouseError

Failure = Literal["stop", "drop", "restored", "forward", "back"]
"""What a step's failure means: nothing was changed; green goes; blue serves again, by itself; only
forward from here, by --resume; the roles are swapped back."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a step is done, and what was seen."""

    done: bool
    said: str


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the table."""

    number: int
    name: str
    probe: Callable[[Run], Probe]
    act: Callable[[Run], None]
    failure: Failure


class PreflightError(BakehouseError):
    """The swap is refused, for every reason there is."""


def lease_probe(run: Run) -> Probe:
    """Ours, by the provider's word."""
    run.lease.check()
    return Probe(True, f"epoch {run.epoch}")


def nothing(_: Run) -> None:
    """For a step that another one has done, or that can only be waited for."""


def preflight_probe(run: Run) -> Probe:
    """Every reason against it, from blue's own facts, and from the provider's about the IP."""
    if run.swapped:
        return Probe(True, "green serves already")
    site, plan = run.site, run.job.plan.image
    facts = run.blue.hand("hello")
    standing = run.spares or (run.green is not None)
    if facts["postgres"] and standing:  # the pooler of what served before leads here, by design
        facts["postgres"]["past_pooler"] = []
    was = plan_of(site, run.blue.server)
    disk = DISK if site.provider.name == "local" else None
    run.reasons = [*address(run), *preflight.reasons(site.spec, plan, facts, was, disk)]
    return Probe(not run.reasons, "; ".join(run.reasons) or "nothing speaks against it")


def address(run: Run) -> list[str]:
    """Why users could not be led on to green, from what the provider says before the swap."""
    provider = run.site.provider
    ip = provider.floating_ip(run.site.floating_ip)
    names = {server.id: server.name for server in provider.servers(run.site.name)}
    return preflight.address(ip, run.blue.server, names.get(ip.server, ip.server))


def refuse(run: Run) -> None:
    """Raises PreflightError with the reasons."""
    raise PreflightError(
        f"{run.site.name} cannot be promoted to generation {run.job.generation}:\n"
        + "\n".join(f"  - {reason}" for reason in run.reasons),
        "nothing was changed",
    )


def green_probe(run: Run) -> Probe:
    """Green runs the image, knows this epoch, and has all but the newest data."""
    if run.swapped:
        return Probe(True, "green serves already")
    if run.green is None:
        return Probe(False, "no server of this image yet")
    try:
        role = run.green.hand("status")["role"]
        rows = run.blue.hand("replication")["rows"] if run.job.plan.image.postgres else ()
    except (UnreachableError, RefusedError) as error:
        return Probe(False, error.message)
    streams = any(row["state"] == "streaming" for row in rows) or not run.job.plan.image.postgres
    ready = role["state"] == "standby" and role["epoch"] == run.epoch and streams
    copy = "streaming" if streams else "not streaming"
    return Probe(ready, f"{run.green.name}: {role['state']} in epoch {role['epoch']}, {copy}")


def swap_probe(number: int) -> Callable[[Run], Probe]:
    """Whether green's unit has done this step."""

    def probe(run: Run) -> Probe:
        if run.swapped:
            took = run.seconds.get(number)
            return Probe(True, "done" if took is None else f"{took:.3f} s")
        return Probe(False, "not yet")

    return probe


def second_copy_probe(run: Run) -> Probe:
    """Green serves, and blue follows it."""
    if not run.swapped:
        return Probe(False, "not yet")
    state = run.there().hand("status")["role"]["state"]
    try:
        follows = run.blue.hand("status")["role"]["state"]
    except (UnreachableError, RefusedError) as error:
        return Probe(state in PRIMARY, f"green is {state}; blue does not answer: {error.message}")
    return Probe(state in PRIMARY, f"green is {state}, blue is {follows}")


STEPS: Final = (
    Step(0, "lease", lease_probe, nothing, "stop"),
    Step(1, "preflight", preflight_probe, refuse, "stop"),
    Step(2, "green follows blue", green_probe, green.make, "drop"),
    Step(3, "blue armed, green synchronous", swap_probe(3), watching.swap, "restored"),
    Step(4, "workers stopped, requests held", swap_probe(4), nothing, "restored"),
    Step(5, "pooler paused, files carried", swap_probe(5), nothing, "restored"),
    Step(6, "blue's Postgres stopped", swap_probe(6), nothing, "restored"),
    Step(7, "green replayed all of it", swap_probe(7), nothing, "restored"),
    Step(8, "blue fenced", swap_probe(8), nothing, "restored"),
    Step(9, "green promoted", swap_probe(9), nothing, "restored"),
    Step(10, "writes flow to green", swap_probe(10), nothing, "forward"),
    Step(11, "blue follows green", second_copy_probe, nothing, "forward"),
    Step(
        12, "floating IP at green", lambda run: Probe(*moving.at_green(run)), moving.move, "forward"
    ),
    Step(
        13, "drained and healthy", lambda run: Probe(*ending.healthy(run)), ending.confirm, "back"
    ),
    Step(
        14,
        "backup, retirement, lease",
        lambda run: Probe(*ending.ended(run)),
        ending.end,
        "forward",
    ),
)

STOPS: Final = (0, 1, 2, 11, 12, 13, 14)
"""Where `--until` may stop: steps 3 to 11 end together, one way or the other."""
