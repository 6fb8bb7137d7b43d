"""What each step of a swap does: questions to blue's hand, functions of green's guard.

A step may be done again after a kill at any point: it returns the facts as they are afterwards, and
the table in `swap` holds them against its gate. Whatever goes wrong is a ProgramError.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from . import (
    acts,
    carrying,
    holding,
    late,
    pooling,
    prepare,
    record,
    release,
    replication,
    state,
    sync,
    wire,
)
from .asking import LostError
from .facts import Facts
from .state import ProgramError
from .swapping import Pass, Swap, unit

RUNNING_ENDS: Final = 0.15
"""Seconds that running requests may take to end before the last pass over the files begins."""

PAUSE: Final = 3.0
"""Seconds that transactions may take to end; the longest one was looked at before."""

FILES: Final = 10.0
"""Seconds that the last pass over the files may still take once the database has stopped."""

YOUNG: Final = 0.2
"""Seconds before the hold in which a request must have begun to be waited for: most take less."""

SHORTLY: Final = 0.2
"""Seconds in which a request that ran on at the hold, and is no slow transfer, is answered."""

SOON: Final = 0.002
"""Seconds between two looks inside the pause."""


def warm_up(swap: Swap) -> Facts:
    """Whatever would take long inside the pause, while blue serves: dirty pages, files."""
    if swap.facts.database:
        pooling.point("here")  # a former blue's led to the peer, past the peer's own pooler
        swap.line.ask_if_known("probe")
        swap.line.ask("checkpoint", limit=300)
    swap.cold = prepare.cold_apps(swap.server)
    swap.line.ask_if_known("reach", but=swap.cold)
    sync.run(sync.folders(swap.server))
    return replace(swap.facts, warm=True)


def arm(swap: Swap) -> Facts:
    """Blue goes back to work by itself unless it is fenced in time."""
    seconds = float(swap.order["seconds"])
    swap.deadline = time.monotonic() + seconds
    swap.line.ask("arm", seconds=seconds)
    return replace(swap.facts, blue="armed", left=seconds)


def synchronous(swap: Swap) -> Facts:
    """From now on whatever blue acknowledges is on green's disk, too."""
    swap.line.ask("sync_names", names=[replication.NAME])

    def so() -> bool:
        rows = swap.line.ask("replication")["rows"]
        ours = [row for row in rows if row["application_name"] == replication.NAME]
        return any((row["state"], row["sync_state"]) == ("streaming", "sync") for row in ours)

    swap.until("green is no synchronous standby", so, 10, 0.1)
    return replace(swap.facts, synchronous=True)


def stop_workers(swap: Swap) -> Facts:
    """What must never run on two servers runs on none."""
    swap.line.ask("stop_workers", limit=120)
    return replace(swap.facts, workers_stopped=True)


def settle(swap: Swap) -> Facts:
    """What the workers left: the stop then finds few dirty pages, the last pass few files.

    Two looks tell what runs at the hold apart: slow transfers, which nobody waits for, from what
    has only begun.
    """
    swap.line.ask("running")  # who is found here and at the hold is a slow transfer
    sync.run(sync.folders(swap.server))
    swap.ready = sync.Ready(sync.folders(swap.server))
    if swap.facts.database:
        swap.line.ask("checkpoint", limit=60)
    swap.line.ask("running", again=True)
    time.sleep(YOUNG)
    return replace(swap.facts, settled=True)


def hold(swap: Swap) -> Facts:
    """New requests to apps with files wait; running ones end, or go on and are carried later.

    The answers of those wait, too, so whatever was answered before is in the pass. Slow transfers
    would not end in time: theirs are held at once.
    """
    ready = swap.ready or sync.Ready(sync.folders(swap.server))
    found = swap.line.ask("hold")
    end = time.monotonic() + RUNNING_ENDS
    while young(found) and time.monotonic() < end:
        time.sleep(0.005)
        found = swap.line.ask("running")
    if young(found):
        swap.line.ask_if_known("hold_answers")
    swap.late, swap.soon = bool(found["running"]), bool(found.get("soon", young(found)))
    swap.files = Pass(ready)
    return replace(swap.facts, held=True)


def young(found: Mapping[str, Any]) -> int:
    """How many running requests may be expected to end soon; an older blue cannot tell."""
    return int(found.get("young", found["running"]))


def pause(swap: Swap) -> Facts:
    """Transactions end, further ones wait in blue's pooler. The write pause begins."""
    disconnect = bool(swap.order["allow_disconnects"])
    swap.line.ask("pause", limit=PAUSE + 10, seconds=PAUSE, disconnect=disconnect)
    return replace(swap.facts, paused=True)


def stop_postgres(swap: Swap) -> Facts:
    """Blue's Postgres is shut down in order; its last place in the log is known."""
    answer = swap.line.ask("stop_postgres", limit=20, seconds=10)
    return replace(swap.facts, lsn=answer["lsn"])


def replayed(swap: Swap) -> Facts:
    """Green has all of it: past the checkpoint with which blue's Postgres ended."""
    last = replication.lsn(swap.facts.lsn)

    def so() -> bool:
        return replication.lsn(swap.value("SELECT pg_last_wal_replay_lsn()")) > last

    swap.until(f"green has not replayed {swap.facts.lsn}", so, 5, SOON)
    return replace(swap.facts, replayed=True)


def carry_files(swap: Swap) -> Facts:
    """The last pass over the files is over; a new process makes it itself."""
    if swap.files is None:
        swap.files = Pass(sync.Ready(sync.folders(swap.server)))
    last, swap.files = swap.files, None
    last.finish(FILES)
    if swap.late:
        swap.known = sync.listing(sync.folders(swap.server))
    return replace(swap.facts, files=True)


def fence(swap: Swap) -> Facts:
    """Blue will not write in this epoch, also when the answer gets lost."""
    answer = swap.line.ask("fence", lsn=swap.facts.lsn, boot=state.boot_id())
    swap.evidence = answer
    return replace(swap.facts, blue="fenced")


def claim(swap: Swap) -> Facts:
    """Recorded: green takes over, and does not give up any more."""
    evidence = swap.evidence
    if swap.facts.off:
        evidence = "peer-off"
    elif not evidence:
        fence(swap)
        evidence = swap.evidence
    record.claim(swap.epoch, evidence)
    return replace(swap.facts, green="claimed")


def promote(swap: Swap) -> Facts:
    """Green's Postgres writes, on a timeline of its own, and waits for no standby."""
    if not swap.facts.database:
        return replace(swap.facts, primary=True)
    if swap.value("SELECT pg_is_in_recovery()") == "t":
        swap.value("SELECT pg_promote(false)")  # waiting, it would look every 0.1 s only

    def so() -> bool:
        return swap.value("SELECT pg_is_in_recovery()") == "f"

    swap.until("green's Postgres does not leave recovery", so, 60, SOON)
    names = swap.value("SHOW synchronous_standby_names")
    if names:
        raise ProgramError(f"green's Postgres waits for {names}: its conf.d is not as it was left")
    return replace(swap.facts, primary=True)


def release_apps(swap: Swap) -> Facts:
    """The apps' own commands for a new generation, before anybody writes."""
    due = [app for app in swap.server["apps"] if release.due(app)]
    if due and swap.facts.database:
        unit("restart", "bakehouse-databases.service")  # a new app's database is new, too
    for app in due:
        release.run(app)
    return replace(swap.facts, released=True)


def point_pooler(swap: Swap) -> Facts:
    """Recorded by blue: it follows. Its pooler's way leads here."""
    swap.line.ask("point_pooler")
    return replace(swap.facts, blue="following", pointed=True)


def resume(swap: Swap) -> Facts:
    """Writes flow, to green."""
    swap.line.ask("resume")
    return replace(swap.facts, resumed=True)


def start_apps(swap: Swap) -> Facts:
    """The apps that could not start before green's database could be written; mostly none."""
    if swap.facts.alone and swap.facts.database:
        pooling.point("here")  # a former blue's led to the peer, and no app starts without it
    cold = prepare.cold_apps(swap.server) if swap.cold is None else swap.cold
    for name in cold:
        unit("restart", f"bakehouse-app@{name}.service")
    return replace(swap.facts, serves=True)


def forward(swap: Swap) -> Facts:
    """Requests that waited at blue go to green's apps, new ones with them."""
    swap.line.ask("forward")
    return replace(swap.facts, forwarded=True)


def serve(swap: Swap) -> Facts:
    """Recorded: green serves for good."""
    record.serve(swap.epoch)
    return replace(swap.facts, green="serving")


def answer_held(swap: Swap) -> Facts:
    """Requests that ran on at the hold and are answered by now: their users wait no longer.

    Slow transfers, and whatever fails here, are seen to when all else is done.
    """
    if swap.soon:
        try:
            while carrying.let_answer(swap, SHORTLY):
                pass
        except LostError:
            raise
        except ProgramError as error:
            swap.journal.write("10 answers", "left", why=str(error))
    return replace(swap.facts, answered=True)


def follow(swap: Swap) -> Facts:
    """Blue is green's standby, and has replayed what green wrote: a second copy exists.

    One whose log stops to be replayed goes on to stream, and could never take over.
    """
    with wire.postgres() as postgres:
        acts.make_slot(postgres, replication.NAME)
    swap.line.ask("follow", limit=120, name=replication.NAME, slot=replication.NAME)
    here = swap.value("SELECT pg_current_wal_flush_lsn()")
    streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    query = f"{streams} AND replay_lsn >= {wire.quoted(here)}"
    what = f"blue does not stream, or has not replayed {here}"
    swap.until(what, lambda: swap.value(query) != "0", 60, 0.05)
    return replace(swap.facts, followed=True)


def reconcile(swap: Swap) -> Facts:
    """Roles and databases that this generation adds; what green held back as a standby goes."""
    if swap.facts.database:
        replication.leave(swap.version)
        unit("restart", "bakehouse-databases.service")
    holding.drop()
    holding.drain(False)
    late.drop()
    return replace(swap.facts, reconciled=True)


def work(swap: Swap) -> Facts:
    """Workers run here, Caddy asks for certificates here, and a write through blue arrives."""
    acts.start_workers()
    if acts.active(["caddy.service"]):
        unit("try-reload-or-restart", "caddy.service")
    if swap.facts.database and not swap.facts.alone:
        swap.line.ask_if_known("probe")
    return replace(swap.facts, working=True)
