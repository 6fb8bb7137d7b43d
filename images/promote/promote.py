"""The swap: one table of steps, each probed, done, probed again and recorded; and each way to end.

What was begun and not ended is found in the lease (its goal) and on the servers, so any machine
that may ask the provider can go on with it (`resume`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from images.history import Journal
from images.marks import mark_bad
from images.progress import Progress
from images.promote import blue_lost, first, green, records, stateless, volume, watching
from images.promote.ending import UnhealthyError
from images.promote.goal import Goal, never_begun, read_goal
from images.promote.job import Job, Site, job
from images.promote.lease import Lease, LostLeaseError
from images.promote.observe import World, look, refuse_locked_out
from images.promote.runs import Outcome, Run, leased, refuse_unfinished, unfinished
from images.promote.steps import STEPS, STOPS, Step
from images.promote.watching import RestoredError
from images.providers.base import GENERATION
from specs.errors import BakehouseError, UsageError
from specs.model import Strategy

LAST: Final = STEPS[-1].number


@dataclass(frozen=True, slots=True)
class Way:
    """How a swap goes: its steps, how to learn what an earlier run left, and how blue comes back to
    work when green is given up; both may be repeated."""

    steps: tuple[Step, ...]
    catch_up: Callable[[Run, Goal], None]
    take_back: Callable[[Run], None]


WAYS: Final[Mapping[Strategy, Way]] = {
    "replica": Way(STEPS, watching.catch_up, watching.await_back),
    "none": Way(stateless.STEPS, stateless.catch_up, stateless.take_back),
    "volume": Way(volume.STEPS, stateless.catch_up, volume.take_back),
}


def promote(wanted: Job, progress: Progress, until: int = LAST) -> Outcome:
    """Make the server of this job's image the one that serves, with all data.

    Raises BakehouseError when it came to no end: nothing was changed, or `--resume` goes on. An
    outcome that is `rolled_back` is a failure, too: what served before serves again.
    """
    if until not in STOPS:
        raise UsageError(
            f"--until {until}: there is no stop after this step",
            f"stop after one of {', '.join(map(str, STOPS))}",
        )
    refuse_unfinished(wanted.site)
    records.bring(wanted.site)  # whatever serves may have to come back
    blue_lost.fence_returned(wanted.site)
    world = look(wanted.site)
    blue = world.active()
    if blue.image == wanted.image.id:
        return Outcome(blue.generation, blue.name, None, notes=("it serves already",))
    goal = Goal(wanted, blue.name, green.standing(world, wanted.image.id, blue.name))
    secrets = wanted.secrets()
    with leased(wanted.site, goal.labels()) as (lease, log):
        return swap(begin(goal, world, lease, log, progress, secrets=secrets), until)


def resume(site: Site, progress: Progress) -> Outcome | None:
    """Go on with what an earlier run began; None when all had ended. Raises as `promote`."""
    claim = unfinished(site, progress)
    if claim is None:
        return None
    records.bring(site)
    if never_begun(site, claim):
        with leased(site, claim.goal) as (lease, log):
            log.write(lease.epoch, "ended", said=f"called off before it began: {claim.what}")
            lease.release()
        return None
    refuse_locked_out(look(site))
    goal = read_goal(site, claim)
    blue_lost.fence_returned(site)
    secrets = goal.job.secrets()
    with leased(site, goal.labels()) as (lease, log):
        if goal.job.verb in ("first", "restore"):
            return first.deploy(goal.job, secrets, lease, log, progress)
        if goal.job.verb == "blue-lost":
            return blue_lost.take_over(goal, look(site), lease, log, progress, secrets=secrets)
        run = begin(goal, look(site), lease, log, progress, secrets=secrets, resumed=True)
        try:
            WAYS[run.job.strategy].catch_up(run, goal)
        except RestoredError as error:
            return restored(run, error)
        return swap(run)


def begin(
    goal: Goal,
    world: World,
    lease: Lease,
    log: Journal,
    progress: Progress,
    *,
    secrets: Mapping[str, str] | None,
    resumed: bool = False,
) -> Run:
    """The run's first state, from what is. Raises BakehouseError when blue is gone."""
    wanted = goal.job
    blue = world.named(goal.blue)
    if blue is None:
        raise BakehouseError(
            f"{goal.blue}, which served when the run began, is no longer at the provider",
            "`invoke status` shows what is; `invoke promote --blue-lost` goes on without it",
        )
    standing = green.find(world, goal)
    fresh = standing is None or standing.server.id != goal.green
    run = Run(wanted, lease, log, progress, blue.contact, secrets, standing, fresh)
    run.spares = green.spares(world, run)
    what = f"{wanted.verb} to generation {wanted.generation}"
    run.record("resumed" if resumed else "began", said=what, blue=goal.blue)
    return run


def swap(run: Run, until: int = LAST) -> Outcome:
    """All steps, or one of the ways in which they end early."""
    steps = table(run.job.strategy)
    stop = max(step.number for step in steps if step.number <= until)
    step = steps[0]
    try:
        for step in steps:
            take(run, step)
            if step.number == stop < LAST:
                return stopped(run, stop)
    except LostLeaseError as error:
        run.record("failed", step=step.number, name=step.name, said=error.message)
        raise
    except RestoredError as error:
        return restored(run, error)
    except UnhealthyError as error:
        if not run.go_back:
            raise
        return back(run, error)
    except BakehouseError as error:
        run.record("failed", step=step.number, name=step.name, said=error.message)
        if step.failure in ("stop", "drop"):
            call_off(run)
            raise
        raise forward_only(run, step, error) from error
    run.record("ended", said=f"generation {run.job.generation} serves")
    return run.outcome(run.there())


def stopped(run: Run, step: int) -> Outcome:
    """As asked, after this step; whoever serves by now is told, and it need not be green yet."""
    waits = f": {run.green.name} stands by" if run.green and not run.swapped else ""
    run.note(f"stopped after step {step}, as asked{waits}; `--resume` goes on")
    return replace(run.outcome(run.there() if run.swapped else run.blue), stopped_after=step)


def table(strategy: Strategy) -> tuple[Step, ...]:
    """The steps, in order, by what becomes of the data."""
    return WAYS[strategy].steps


def take(run: Run, step: Step) -> None:
    """One step. Raises BakehouseError when it is not done in the end."""
    probe = step.probe(run)
    if not probe.done:
        run.record("begins", step=step.number, name=step.name, said=probe.said)
        with run.progress.stage(f"{step.number:>2} {step.name}"):
            if step.number:
                run.lease.check()
            step.act(run)
        probe = step.probe(run)
    if not probe.done:
        raise BakehouseError(probe.said)
    run.record("done", step=step.number, name=step.name, said=probe.said)


def call_off(run: Run) -> None:
    """Users noticed nothing: green goes, the lease is given back.

    Unless blue does not say that it serves: a swap may stand between the two, or green have the
    only copy that is left. Then all stays for `resume`.
    """
    if not watching.serves(run.blue):
        run.note(f"{run.blue.name} does not say that it serves: all is left as it is")
        return
    green.drop(run)
    run.record("ended", said=f"called off; {run.blue.name} serves on")
    run.lease.release()


def restored(run: Run, error: RestoredError) -> Outcome:
    """Blue serves again with every write; green is not needed any more."""
    name = run.green.name if run.green else f"generation {run.job.generation}"
    why = f"{name} did not take over: {error.message}"
    run.record("restored", said=why)
    WAYS[run.job.strategy].take_back(run)
    green.drop(run)
    run.lease.release()
    return replace(run.outcome(run.blue), rolled_back=True, why=why)


def back(run: Run, error: UnhealthyError) -> Outcome:
    """Green serves badly: the same swap with the roles exchanged, so with the newest data.

    Raises BakehouseError when that one was given up, too, so that green serves on.
    """
    why = f"generation {run.job.generation} is not well: {error.message}"
    run.note(f"{why}; going back")
    mark_bad(run.site.home, None, run.site.name, run.job.image.id, why)
    generation = int(run.blue.server.labels[GENERATION])
    strategy = run.job.strategy
    wanted = job(run.site, "rollback", generation=generation, strategy=strategy, disk=False)
    serves = run.there().name
    goal = Goal(wanted, serves, green.standing(look(run.site), wanted.image.id, serves))
    secrets = secrets_again(run, goal)
    with leased(run.site, goal.labels(), after=run.lease) as (lease, log):
        again = begin(goal, look(run.site), lease, log, run.progress, secrets=secrets)
        again.go_back = False
        ended = swap(again)
    tell_bad(run, why)
    if ended.rolled_back:
        raise BakehouseError(
            f"{why}; going back to generation {generation} was given up, too: {ended.why}",
            f"{serves} serves on; `invoke rollback --to {generation}` tries again",
        )
    return replace(ended, rolled_back=True, why=why, notes=(*run.notes, *ended.notes))


def secrets_again(run: Run, goal: Goal) -> Mapping[str, str] | None:
    """What the server that served before needs; None leaves it with what it has, since a way back
    must not end at a secret that cannot be had any more. Raises as `Job.secrets` where no server
    stands."""
    try:
        return goal.job.secrets()
    except BakehouseError as error:
        if not goal.green:
            raise
        run.note(f"{goal.job.image.id} keeps the secrets that its server has: {error.message}")
        return None


def tell_bad(run: Run, why: str) -> None:
    """The provider notes it for other machines; that must not keep what serves well from users."""
    try:
        mark_bad(run.site.home, run.site.provider, run.site.name, run.job.image.id, why)
    except BakehouseError as error:
        run.note(f"only this machine knows that the image is bad: {error.message}")


def forward_only(run: Run, step: Step, error: BakehouseError) -> BakehouseError:
    """The lease stays as it is, which marks the run as one that has not ended."""
    hint = f"{error.hint}; " if error.hint else ""
    serves = run.there().name if run.swapped else "what served before"
    return BakehouseError(
        f"step {step.number}, {step.name}: {error.message}",
        f"{hint}{serves} serves on; `invoke promote --resume` goes on from here",
    )
