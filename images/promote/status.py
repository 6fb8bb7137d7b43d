"""What runs where, for a person and as data; and what a promote would do, step by step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from images.history import journal
from images.progress import Progress
from images.promote import green
from images.promote.goal import Goal
from images.promote.job import STANDBY, Job, Site
from images.promote.lease import TERM, Claim, Lease, newest
from images.promote.observe import Seen, World, look
from images.promote.promote import table
from images.promote.runs import Run
from specs.errors import BakehouseError


def as_data(world: World, drifted: Mapping[str, Drift] | None = None) -> dict[str, Any]:
    """For `--json`; `drifted` by the servers' names."""
    claim = world.claim
    drifted = drifted or {}
    return {
        "spec": world.site.name,
        "floating_ip": {"v4": world.ip.v4, "v6": world.ip.v6, "server": holder(world)},
        "servers": [
            {**server_data(seen), "drift": drifted.get(seen.name)} for seen in world.servers
        ],
        "volumes": volumes(world),
        "lease": None
        if claim is None
        else {
            "epoch": claim.number,
            "held": claim.held,
            "expires": claim.expires,
            "goal": dict(claim.goal),
        },
    }


def server_data(seen: Seen) -> dict[str, Any]:
    """One server. `standbys` is how many replay its log, None when it does not tell; `backup` and
    `check` are there for the one that serves, when it knows of them: None before the first one."""
    server = seen.contact.server
    rows = streams(seen)
    told = {what: seen.facts[what] for what in ("backup", "check") if knows(seen, what)}
    return {
        "name": seen.name,
        "id": server.id,
        "status": server.status,
        "generation": seen.generation,
        "image": seen.image,
        "label": seen.label,
        "state": seen.state,
        "epoch": seen.epoch,
        "writable": seen.writable,
        "lag_bytes": lag(rows),
        "standbys": None if rows is None else len(rows),
        "address": server.address,
        "address6": server.address6,
        "silence": seen.silence,
        "locked_out": seen.locked_out,
        **told,
    }


Rows = Sequence[Mapping[str, Any]]
"""Those who replay a server's log, as its hand tells them."""


def streams(seen: Seen) -> Rows | None:
    """Who replays the log of this server; None when it serves no database, or does not tell."""
    if not (seen.primary and seen.facts.get("postgres")):
        return None
    try:
        rows = seen.contact.hand("replication")["rows"]
    except BakehouseError:
        return None
    return [row for row in rows if row["replay"]]


def lag(rows: Rows | None) -> int | None:
    """Bytes of log that the slowest standby has not replayed; None without one."""
    found = [place(row["sent"]) - place(row["replay"]) for row in rows or ()]
    return max(found, default=None)


def copy_lines(world: World, seen: Seen, rows: Rows | None) -> list[str]:
    """For a person: that a standby, there by its label, has ceased to be a second copy."""
    standbys = [one.name for one in world.servers if one.label == STANDBY and one.name != seen.name]
    if world.site.spec.data.strategy != "replica" or rows is None or rows or not standbys:
        return []
    return [
        "    there is no second copy of its data now: nothing streams to "
        f"{' and '.join(standbys)}; the next promote makes one"
    ]


def knows(seen: Seen, what: str) -> bool:
    """Whether it serves and says how its last `backup`, or the last `check` of them, ended; an
    older image's server does not."""
    return seen.primary and what in seen.facts


def backup_lines(seen: Seen, now: float) -> list[str]:
    """For a person; nothing of a server that does not say. `now` is in seconds since 1970."""
    found = []
    if knows(seen, "backup"):
        last = seen.facts["backup"]
        found.append(
            f"    its last backup {ended(last, 'worked', now)}"
            if last
            else "    it has no backup yet"
        )
    if knows(seen, "check") and (check := seen.facts["check"]):
        found.append(f"    the last check of its backups {ended(check, 'passed', now)}")
    return found


def ended(last: Mapping[str, Any], well: str, now: float) -> str:
    """How and when, by a record of the server's; `well` is the word for a good end."""
    when = ago(now - last["at"])
    return f"{well} {when}" if last["ok"] else f"failed {when}: {last['why']}"


def ago(seconds: float) -> str:
    """How long ago that was; clocks that differ make no future."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(int(seconds), 0)} s ago"


def place(lsn: str) -> int:
    """A place in the log as a number of bytes: `16/B374D848` is 0x16B374D848."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def holder(world: World) -> str:
    """The name of the server that has the floating IP."""
    return name_of(world, world.ip.server)


def name_of(world: World, server: str) -> str:
    """The name of a server by its id, or the id of one that is not the spec's."""
    names = {seen.contact.server.id: seen.name for seen in world.servers}
    return names.get(server, server)


def volumes(world: World) -> list[dict[str, Any]]:
    """The spec's volumes, and who has them."""
    return [
        {"name": one.name, "size": one.size, "server": name_of(world, one.server)}
        for one in world.site.provider.volumes(world.site.name)
    ]


Drift = Mapping[str, Any] | None
"""What of a server's system is not as its image has it; None when it cannot tell."""


def drift(world: World) -> dict[str, Drift]:
    """Ask every server that answers, by its name."""
    with ThreadPoolExecutor(max_workers=max(1, len(world.servers))) as pool:
        answers = pool.map(_drift, world.servers)
    return {seen.name: answer for seen, answer in zip(world.servers, answers, strict=True)}


def _drift(seen: Seen) -> Drift:
    try:
        return seen.contact.program("drift") if seen.facts else None
    except BakehouseError:  # an image of an older version has no manifest
        return None


def drift_lines(drifted: Drift) -> list[str]:
    """For a person; nothing when all is as baked, or nobody can tell."""
    if not drifted or not drifted["total"]:
        return []
    marks = {"changed": "~", "added": "+", "removed": "-"}
    found = [f"      {marks[kind]} /{path}" for kind in marks for path in drifted[kind]]
    more = drifted["total"] - len(found)
    head = f"    differs from its image in {drifted['total']} files, which a promote takes away:"
    return [head, *found, *([f"      and {more} more"] if more else [])]


def lines(world: World, drifted: Mapping[str, Drift] | None = None) -> list[str]:
    """For a person."""
    drifted = drifted or {}
    if not world.servers:
        return [f"{world.site.name}: no server yet; `invoke promote --first` deploys one"]
    now = time.time()
    found = [f"{world.site.name}: {world.ip.v4} {world.ip.v6} at {holder(world) or 'no server'}"]
    for seen in world.servers:
        server = seen.contact.server
        state = f"{seen.state} since epoch {seen.epoch}" if seen.state else seen.silence
        rows = streams(seen)
        behind = lag(rows)
        copy = "" if behind is None else f", its standby is {behind} bytes behind"
        found.append(
            f"  {seen.name}  generation {seen.generation}  {seen.label}  {server.status}  "
            f"{state}{copy}  {server.address}"
        )
        found += [f"    {seen.locked_out}"] if seen.locked_out else []
        found += copy_lines(world, seen, rows)
        found += backup_lines(seen, now)
        found += drift_lines(drifted.get(seen.name))
    for one in volumes(world):
        size = f"{one['size'] / (1 << 30):g} GiB"
        found.append(f"  {one['name']}  {size}, at {one['server'] or 'no server'}")
    return [*found, lease_line(world.claim)]


def lease_line(claim: Claim | None) -> str:
    """Whether somebody works on it."""
    if claim is None or not claim.held:
        return "  nobody works on it"
    if claim.ended(time.time()):
        return f"  cut short: {claim.what}; `invoke promote --resume` ends it"
    return f"  at work: {claim.what} (epoch {claim.number})"


def plan_lines(wanted: Job, progress: Progress) -> list[str]:
    """The steps of a promote with what each one's probe says now; nothing is changed."""
    site = wanted.site
    world = look(site)
    blue = world.active()
    run = _looking(wanted, world, blue, progress)
    found = [f"{blue.name} (generation {blue.generation}) → generation {wanted.generation}"]
    for step in table(wanted.strategy):
        try:
            said = _lease_words(site) if step.number == 0 else None
            probe = None if said else step.probe(run)
            mark = "done" if probe and probe.done else "to do"
            shown = said or (probe.said if probe else "")
        except BakehouseError as error:
            mark, shown = "unknown", error.message
        found.append(f"  {step.number:>2}  {step.name:<32} {mark:<8} {shown}")
    return found


def _lease_words(site: Site) -> str:
    claim = newest(site.provider, site.name)
    return "free" if claim is None or not claim.held else lease_line(claim).strip()


def _looking(wanted: Job, world: World, blue: Seen, progress: Progress) -> Run:
    """A run that only looks: its lease is none, and its steps are never done."""
    goal = Goal(wanted, blue.name, green.standing(world, wanted.image.id, blue.name))
    claim = Claim(
        world.claim.number + 1 if world.claim else 1, "", time.time() + TERM, True, goal.labels()
    )
    lease = Lease(world.site.provider, world.site.name, claim)
    run = Run(wanted, lease, journal(world.site.home, world.site.name), progress, blue.contact, {})
    run.green = green.find(world, goal)
    run.spares = green.spares(world, run)
    return run
