"""The scheduled run, top-down: refresh the lock, bake, prove, stage or swap in, tell, tidy up.

What is long or far away comes as `Ways`; what this module decides is when each is used, and what
its end means. Every run is one line in the journal, and every end an `Outcome`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from images import marks, store
from images.build import UnprovenError
from images.built import Built
from images.calls import told_of
from images.changes import image_lock, told
from images.history import journal
from images.home import write_whole
from images.locking import Renewed
from images.progress import Progress
from images.promote.alone import alone
from images.promote.job import Site
from images.promote.lease import HeldLeaseError, Lease
from images.promote.runs import Outcome as Swapped
from images.promote.runs import UnfinishedError
from images.promote.steps import PreflightError
from images.scheduled import numbers
from images.scheduled.notices import tell
from images.scheduled.outcome import End, Outcome
from images.scheduled.renewal import renew_due
from specs.errors import BakehouseError, SpecError, UsageError
from specs.lock import Lock, dump, lock_path
from specs.timing import parse_window

DAY: Final = 86_400

REFUSALS: Final = (PreflightError, HeldLeaseError, UnfinishedError)
"""Ends of a swap that mean: not now, and nothing was changed."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How the long pieces of a run are done. All raise BakehouseError.

    `recall` learns what this machine does not know of what serves; `refresh` asks the archives, and
    writes nothing; `image_id` names the image that a lock makes;
    `build` bakes, proves and publishes what the lock beside the spec makes, as a generation larger
    than the given one; `swap` promotes an image; `resume` ends a swap that was cut short, None when
    there is none; `tidy` frees what nothing needs, and returns how many bytes.
    """

    recall: Callable[[], None]
    refresh: Callable[[], Renewed]
    image_id: Callable[[Lock], str]
    build: Callable[[int], Built]
    swap: Callable[[str], Swapped]
    resume: Callable[[], Swapped | None]
    tidy: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person may want otherwise: only look, or try again what was found bad."""

    dry_run: bool = False
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One run: where, how, and what is wished for. `clock` gives Unix seconds."""

    site: Site
    ways: Ways
    wish: Wish
    progress: Progress
    clock: Callable[[], float] = time.time


def rebuild(run: Run) -> Outcome:
    """One run, to whatever end; raises nothing that a person must see.

    A run that was killed is gone on with by the next: a lock that was renewed is baked, an image
    that was proven is used, a swap that was begun is ended first.
    """
    look = {"dry_run": True} if run.wish.dry_run else {}
    with journal(run.site.home, run.site.name).recorded("rebuild", **look) as line:
        ended = _ended(run)
        ended.seconds = dict(run.progress.seconds)
        if not run.wish.dry_run and not ended.quiet:
            _afterwards(run, ended)
        line.update(outcome=ended.end, **ended.facts())
    return ended


def _ended(run: Run) -> Outcome:
    """The run itself; an error is an end like others."""
    name = run.site.name
    try:
        with alone(run.site, "rebuild") as lease:
            return _run(run, lease)
    except HeldLeaseError as error:
        return Outcome(name, "refused", why=error.message, hint=error.hint, quiet=True)
    except (BakehouseError, OSError) as error:
        told_ = told_of(error) if isinstance(error, OSError) else error
        return _failed(Outcome(name, "failed", serves=_serves(run.site)), told_)


def _run(run: Run, lease: Lease) -> Outcome:
    site, ways = run.site, run.ways
    resumed = None
    if site.spec.rebuild.policy == "promote" and not run.wish.dry_run:
        resumed = ways.resume()
        if resumed and resumed.rolled_back:
            return _swapped(Outcome(site.name, "failed"), resumed)
    ways.recall()
    with run.progress.stage("refresh"):
        renewed = ways.refresh()
    ended = Outcome(site.name, "failed", image=ways.image_id(renewed.new), serves=_serves(site))
    if run.wish.dry_run:
        ended.end = "nothing-to-do" if _known(site, ended.image) else "planned"
        return _with_changes(ended, site, _base(site, renewed.old), renewed.new)
    if run.wish.retry:
        marks.forgive(site.home, site.provider, site.name, ended.image)
    bad = marks.bad(site.home, site.provider, site.name, ended.image)
    if bad:
        why = f"{ended.image} was found bad before and is not tried again: {bad.why}"
        hint = "the next update of the archive is tried; `invoke rebuild --retry` tries this again"
        return replace(ended, end="refused", why=why, hint=hint)
    if _waits_for_nothing(site, ended.image):
        done = replace(ended, end="nothing-to-do", generation=ended.serves)
        return _swapped(done, resumed) if resumed else done
    ended = _bake(run, ended, renewed)
    return ended if ended.end == "refused" else _use(run, ended, lease)


def _failed(ended: Outcome, error: BakehouseError) -> Outcome:
    """The end that an error means: what was changed by nobody is refused, else it failed."""
    end: End = "refused" if isinstance(error, REFUSALS) else "failed"
    wrong = isinstance(error, UsageError | SpecError)
    return replace(ended, end=end, why=error.message, hint=error.hint, wrong=wrong)


def _serves(site: Site) -> int:
    """The generation that serves; 0 when none does, or nobody can tell."""
    with suppress(BakehouseError, OSError):
        serving = numbers.serving(site)
        return serving.number if serving else 0
    return 0


def _known(site: Site, image: str) -> bool:
    """Whether this image serves, or was baked and proven before, here or on another machine."""
    serving = numbers.serving(site)
    newest = store.newest(site.home, site.name)
    return (
        (serving is not None and serving.image == image)
        or any(known.image == image for known in numbers.noted(site)[-1:])
        or (newest is not None and newest.image == image and _stored(site, image))
    )


def _stored(site: Site, image: str) -> bool:
    return store.find(site.home, image) is not None


def _waits_for_nothing(site: Site, image: str) -> bool:
    """Whether there is nothing to bake, and nothing that this run may swap in."""
    serving = numbers.serving(site)
    if serving and serving.image == image:
        return True
    may_swap = site.spec.rebuild.policy == "promote" and serving is not None
    return _known(site, image) and not may_swap


def _bake(run: Run, ended: Outcome, renewed: Renewed) -> Outcome:
    """Bake and prove the image of the renewed lock, which stays beside the spec only if it proves
    itself: whoever builds by hand gets what is known to be good.

    Raises BakehouseError when it came to no image.
    """
    site = run.site
    before = renewed.path.read_text(encoding="utf-8") if renewed.path.exists() else ""
    base = _base(site, renewed.old)
    write_whole(renewed.path, dump(renewed.new))
    try:
        built = run.ways.build(numbers.before(site, ended.image))
    except (BakehouseError, OSError) as error:
        _put_back(renewed.path, dump(base) if base else before)
        if not isinstance(error, UnprovenError):
            raise
        marks.mark_bad(site.home, site.provider, site.name, ended.image, error.message)
        ended = replace(ended, end="refused", why=error.message, hint=error.hint)
        return _with_changes(ended, site, base, renewed.new)
    numbers.note(site, built.generation)
    site.provider.image(built.path, built.image.id)
    ended = replace(ended, end="staged", generation=built.generation.number)
    return _with_changes(ended, site, base, renewed.new)


def _base(site: Site, otherwise: Lock | None) -> Lock | None:
    """The lock of what serves: what an update is compared with."""
    serving = numbers.serving(site)
    return (image_lock(site.home, serving.image) if serving else None) or otherwise


def _with_changes(ended: Outcome, site: Site, old: Lock | None, new: Lock) -> Outcome:
    """What the run's image changes, and which advisories it closes."""
    known = told(site.home, old, new)
    return replace(ended, changes=tuple(known["changes"]), fixes=known.get("fixes", {}))


def _put_back(path: Path, text: str) -> None:
    if text:
        write_whole(path, text)


def _use(run: Run, ended: Outcome, lease: Lease) -> Outcome:
    """What becomes of a proven image: it waits, or it is swapped in."""
    site, wanted = run.site, run.site.spec.rebuild
    if wanted.policy == "stage":
        return ended
    if not ended.serves:
        return replace(ended, hint="no server serves yet: `invoke promote --first` deploys one")
    now = datetime.fromtimestamp(run.clock(), UTC)
    if wanted.window and not parse_window(wanted.window).holds(now):
        return replace(ended, hint=f"it is swapped in by a run within {wanted.window} UTC")
    lease.check()
    started = time.monotonic()
    try:
        swapped = run.ways.swap(ended.image)
    except BakehouseError as error:
        return _failed(replace(ended, serves=_serves(site)), error)
    finally:
        run.progress.seconds["swap"] = time.monotonic() - started
    base = _base(site, None)
    if swapped.rolled_back and base:
        write_whole(lock_path(site.spec_file), dump(base))
    return _swapped(ended, swapped)


def _swapped(ended: Outcome, swapped: Swapped) -> Outcome:
    """The end of a swap; `swapped.generation` is the one that serves now."""
    found = replace(ended, serves=swapped.generation, pause=swapped.pause, why=swapped.why)
    if swapped.rolled_back:
        return replace(found, end="rolled-back")
    return replace(found, end="promoted", generation=swapped.generation)


def _afterwards(run: Run, ended: Outcome) -> None:
    """Age, certificates, notices, room: none of it changes how the run ended."""
    site, progress = run.site, run.progress
    try:
        alarms = [alarm(site, run.clock())]
    except (BakehouseError, OSError) as error:
        why = told_of(error).message if isinstance(error, OSError) else error.message
        alarms = [f"the age of what serves is not known: {why}"]
    try:
        alarms += renew_due(site, run.clock(), progress.note)
    except (BakehouseError, OSError) as error:
        progress.note(f"the servers' SSH host certificates were not looked at: {error}")
    ended.alarm = "; ".join(found for found in alarms if found)
    event = ended.event(site.spec.notify.events)
    if event:
        ended.notices = tell(site.spec, site.spec_file, event, "\n".join(ended.lines()))
    for notice in ended.notices:
        if not notice.delivered:
            progress.note(f"the notice to {notice.to} was not delivered: {notice.why}")
    try:
        ended.freed = run.ways.tidy()
    except (BakehouseError, OSError) as error:
        progress.note(f"gc: {error}")


def alarm(site: Site, now: float) -> str:
    """What is wrong with the age of the image that serves (of the newest one, where no server is),
    or ""; an age that nobody knows is wrong, too. `now` is Unix seconds."""
    serving = numbers.serving(site)
    found = serving or numbers.newest(site)
    if found is None:
        return ""
    what = "what serves" if serving else "the newest image"
    if not found.created:
        return (
            f"the age of {what}, generation {found.number}, is not known: neither this machine nor "
            "the provider knows when it was baked; the next promote ends that"
        )
    age, limit = now - found.created, site.spec.rebuild.max_age
    if age <= limit:
        return ""
    days = f"{age / DAY:.0f} days old (rebuild.max_age is {limit // DAY})"
    return f"{what}, generation {found.number}, is {days}"
