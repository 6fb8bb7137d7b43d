"""The verbs rebuild, schedule, history, gc, pin and unpin. What they need is imported when they
run, as in `tasks`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from invoke.context import Context

from images.calls import emit
from images.options import SPEC, verb
from specs.errors import UsageError

if TYPE_CHECKING:
    from images.home import Home
    from images.promote.job import Site
    from images.providers.base import Provider
    from images.store import Generation

ONLY_HELP: Final = "`security` (what the security suites have newer), or a package of the lock"
WHICH: Final = "which one, as <spec>@<number>"
PINNED_AT: Final = "its spec file: it is noted at its provider, too, for runs on other machines"
REBUILD_HELP: Final = {
    "only": ONLY_HELP,
    "dry_run": "stop before the bake, and tell what would change",
    "due": "end at once unless a start of `rebuild.schedule` has passed since the last run",
    "retry": "try an image again that was found bad",
}


@verb("spec", "store", "json", "provider", **REBUILD_HELP)
def rebuild(
    _: Context,
    only: str = "",
    dry_run: bool = False,
    due: bool = False,
    retry: bool = False,
    spec: str = SPEC,
    provider: str = "",
    store: str = "",
    json: bool = False,
) -> None:
    """Bring updates: refresh the lock, bake, prove, stage or swap in, tell, tidy up."""
    from images.home import find_home
    from images.progress import Progress
    from images.promote.calling import site
    from images.run import require_root
    from images.scheduled import due as dates
    from images.scheduled.outcome import Outcome
    from images.scheduled.rebuild import Run, Wish
    from images.scheduled.rebuild import rebuild as run
    from images.scheduled.ways import ways

    require_root("baking an image")
    where = site(spec, find_home(store), provider)
    if due and (waits := dates.waits(where.home, where.spec)):
        if json:
            idle = Outcome(where.name, "nothing-to-do").as_data()
            emit(json, {**idle, "outcome": "not-due", "why": waits}, waits)
        elif sys.stderr.isatty():  # cron would send a mail each hour
            _say(waits)
        return
    progress = Progress()
    ended = run(Run(where, ways(where, progress, only), Wish(dry_run, retry), progress))
    emit(json, ended.as_data(), "\n".join(ended.lines()))
    sys.exit(ended.exit_code)


@verb(
    "spec",
    "json",
    with_="systemd, cron, github-actions or gitlab-ci",
    out="the folder to write the files below (default: here)",
    install="systemd and cron: put them in place on this machine, and start",
    remove="systemd and cron: take them away again",
)
def schedule(
    _: Context,
    with_: str,
    spec: str = SPEC,
    out: str = ".",
    install: bool = False,
    remove: bool = False,
    json: bool = False,
) -> None:
    """Write, install or remove what starts `invoke rebuild`, by `rebuild.schedule` of the spec."""
    from images.run import require_root
    from images.scheduled import schedule as work
    from specs.read import read

    found = work.schedule(read(Path(spec)), Path(spec), with_)
    if install and remove:
        raise UsageError("--install and --remove: only one of them makes sense", "choose one")
    if install or remove:
        require_root("changing this machine's schedule")
        paths = work.install(found) if install else work.remove(found)
    else:
        paths = work.write(found, Path(out))
    verb_ = "removed" if remove else "wrote"
    text = "\n".join(f"{verb_} {path}" for path in paths) or "there was nothing to remove"
    emit(json, {"with": with_, verb_: [str(path) for path in paths]}, text)


@verb("store", "json", spec="only of this spec file (default: of all)")
def history(_: Context, spec: str = "", store: str = "", json: bool = False) -> None:
    """Tell what was done: builds, proofs, swaps, runs; what changed, why not, and how long."""
    from images import history as past
    from images.home import find_home
    from specs.read import read

    home = find_home(store)
    names = [read(Path(spec)).name] if spec else past.names(home)
    found = [{"spec": n, **entry} for n in names for entry in past.journal(home, n).deeds()]
    found.sort(key=lambda entry: str(entry["time"]))
    lines = [line for entry in found for line in past.deed_lines(entry, entry["spec"])]
    emit(json, found, "\n".join(lines) or "nothing was done yet")


@verb(
    "store",
    "json",
    keep="generations of each spec that stay, besides those in use and pinned (default: 3)",
    servers="also the local cloud's servers that are neither active nor standby",
    all="the whole local cloud: its servers, disks, volumes and leases",
    dry_run="only tell what would be freed",
    spec="a spec file: also what is at its provider",
    provider="another provider than the spec's",
)
def gc(
    _: Context,
    keep: int = 3,
    servers: bool = False,
    all: bool = False,
    dry_run: bool = False,
    spec: str = "",
    provider: str = "",
    store: str = "",
    json: bool = False,
) -> None:
    """Free what nothing needs: old generations and what they alone need, left-overs of runs."""
    from images import gc as rooms
    from images.garbage import summary
    from images.home import find_home

    home = find_home(store)
    where = _site(spec, home, provider)
    if dry_run:
        found = rooms.find(home, servers=servers, everything=all, keep=keep, site=where)
    else:
        found = rooms.run(home, _say, servers=servers, everything=all, keep=keep, site=where)
    data = {"dry_run": dry_run, "freed": [garbage.as_data() for garbage in found]}
    listed = [f"would free {garbage}" for garbage in found if dry_run]
    emit(json, data, "\n".join([*listed, summary(found)]))


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _site(spec: str, home: Home, provider: str) -> Site | None:
    """Where a spec is deployed; None when no spec is named."""
    from images.promote.calling import site

    return site(spec, home, provider) if spec else None


@verb("store", "json", generation=WHICH, spec=PINNED_AT)
def pin(_: Context, generation: str, spec: str = "", store: str = "", json: bool = False) -> None:
    """Keep a generation, whatever its age, until it is unpinned."""
    from images import marks
    from images.history import journal

    home, found, provider = _generation(generation, spec, store)
    marks.pin(home, provider, found)
    journal(home, found.name).record("pin", "pinned", generation=found.number)
    emit(json, {"generation": generation, "pinned": True}, f"{generation} stays")


@verb("store", "json", generation=WHICH, spec=PINNED_AT)
def unpin(_: Context, generation: str, spec: str = "", store: str = "", json: bool = False) -> None:
    """Let a generation that was pinned grow old again."""
    from images import marks
    from images.history import journal

    home, found, provider = _generation(generation, spec, store)
    was = marks.unpin(home, provider, found)
    if was:
        journal(home, found.name).record("pin", "unpinned", generation=found.number)
    text = f"{generation} may go when it is old" if was else f"{generation} was not pinned"
    emit(json, {"generation": generation, "pinned": False}, text)


def _generation(word: str, spec: str, store: str) -> tuple[Home, Generation, Provider | None]:
    """The home, the generation that a person means, and the provider of its spec, if named."""
    from images import store as stored
    from images.home import find_home

    home = find_home(store)
    where = _site(spec, home, "")
    if where and where.name != word.partition("@")[0]:
        raise UsageError(f"{spec} is the spec of {where.name}", f"{word} is another one's")
    for found in stored.generations(home):
        if word == f"{found.name}@{found.number}":
            return home, found, where.provider if where else None
    known = ", ".join(f"{g.name}@{g.number}" for g in stored.generations(home))
    raise UsageError(f"no generation {word!r}", f"there is {known}" if known else "bake one first")
