"""Steps 13 and 14: is green well in use, and what is to be tidied up after it has proven itself."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from images.promote import moving, outside
from images.promote.job import STANDBY
from images.promote.observe import REUSABLE, look
from images.promote.runs import Run
from specs.errors import BakehouseError

INTERVAL: Final = 1.0
"""Seconds between two rounds of questions."""

ROW: Final = 3
"""How often in a row a question must fail: one lost answer is no reason to go back."""

STILL: Final = 30.0
"""Seconds after the confirm time that what fails now and then has to come to rest."""

LATE: Final = 60.0
"""Seconds that green may take to carry the last files of requests that ended at blue."""

BACKUP: Final = 20.0
"""Seconds that the run watches the first backup; it goes on by itself."""


class UnhealthyError(BakehouseError):
    """Green serves, and not well."""


def healthy(run: Run) -> tuple[bool, str]:
    """Whether this run, or the one that it goes on with, saw green well for the confirm time."""
    seconds = run.site.spec.deploy.confirm
    return run.confirmed, f"well for {seconds} s" if run.confirmed else "not confirmed yet"


def confirm(run: Run) -> None:
    """Old connections end at blue for the drain time, while green proves itself; then blue has no
    users any more, and green all files. Raises UnhealthyError as `prove`."""
    prove(run)
    moving.see_off(run)
    late_files(run)
    if not run.blue_off:
        moving.drain(run, False, over=True)


def late_files(run: Run) -> None:
    """Wait until green has what requests that began before the swap wrote at blue."""
    deadline = time.monotonic() + LATE
    while unit_state(run, "bakehouse-swap.service") == "active":
        if time.monotonic() > deadline:
            run.note(f"{run.blue.name} still answers requests that began before the swap")
            return
        time.sleep(INTERVAL)


def prove(run: Run) -> None:
    """Ask through the floating IP until the confirm time is over, or the drain time if that is
    longer. Raises UnhealthyError with what users would see."""
    deploy = run.site.spec.deploy
    ip = moving.floating_ip(run)
    asked = outside.questions(run.job.plan.image, ip, health=True)
    started = time.monotonic()

    def answers() -> dict[str, str]:
        waiting(run, started)
        with ThreadPoolExecutor() as pool:
            ask = partial(outside.ask, run.site.provider, generation=run.job.generation)
            return dict(zip((one.shown for one in asked), pool.map(ask, asked), strict=True))

    judge(answers, deploy.confirm)
    while time.monotonic() - started < deploy.drain:
        waiting(run, started)
        time.sleep(INTERVAL)
    run.confirmed = True


def waiting(run: Run, started: float) -> None:
    """Say how long it still takes."""
    deploy, passed = run.site.spec.deploy, time.monotonic() - started
    run.progress.say(f"{passed:.0f} s of {max(deploy.confirm, deploy.drain)} s")


def judge(
    answers: Callable[[], Mapping[str, str]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ask until so many seconds are over and nothing is wrong any more; `answers` tells by question
    what is, or "".

    Raises UnhealthyError once the same question failed `ROW` times in a row, or still something is
    wrong `STILL` after the time. A failing answer may take as long as its patience, so rounds may
    be few: nothing is confirmed on a doubt.
    """
    started = clock()
    failed: Counter[str] = Counter()
    while clock() < started + seconds or any(failed.values()):
        for question, wrong in answers().items():
            failed[question] = failed[question] + 1 if wrong else 0
            if failed[question] >= ROW or (wrong and clock() > started + seconds + STILL):
                raise UnhealthyError(wrong)
        sleep(INTERVAL)


def ended(run: Run) -> tuple[bool, str]:
    """Whether the lease was given back, which comes last."""
    held = run.lease.claim.held
    return not held, "the lease is still held" if held else "the lease is given back"


def end(run: Run) -> None:
    """The first backup, old servers away, the lease given back."""
    backup(run)
    retire(run)
    run.lease.release()


def backup(run: Run) -> None:
    """Start it and see whether it fails at once; a failure is told, and undoes nothing."""
    if run.job.plan.image.borg is None:
        return
    green = run.there()
    green.shell("systemctl start --no-block bakehouse-backup.service")
    deadline = time.monotonic() + BACKUP
    while (state := unit_state(run, "bakehouse-backup.service")) in ("activating", "reloading"):
        if time.monotonic() > deadline:
            run.note("the first backup goes on; `invoke status` tells how it ended")
            return
        time.sleep(INTERVAL)
    if state == "failed":
        run.note(f"the first backup failed: see `journalctl -u bakehouse-backup` on {green.name}")


def unit_state(run: Run, unit: str) -> str:
    """systemd's word for a unit of green's."""
    return run.there().shell(f"systemctl show -P ActiveState {unit}").stdout.strip()


def retire(run: Run) -> None:
    """Delete standbys older than the one that was just replaced. What serves, or was given up with
    data that may be nowhere else, is not touched."""
    keep = {run.there().name, run.blue.name}
    for seen in look(run.site).servers:
        idle = seen.state in REUSABLE or not seen.state
        if seen.name in keep or seen.label != STANDBY or not idle:
            continue
        run.lease.check()
        run.site.provider.delete_server(seen.contact.server.id)
        run.note(f"retired {seen.name}, generation {seen.generation}")
