"""What the verbs promote, rollback and status call: a site from a spec file, whichever kind of
promote was asked for, and the person's answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from images.history import journal
from images.home import Home
from images.progress import Progress
from images.promote import blue_lost as lost
from images.promote import first as begin
from images.promote import promote as swap
from images.promote import rollback as rolling
from images.promote.job import Site, Verb, job, newest_good
from images.promote.observe import look
from images.promote.runs import Outcome
from images.promote.status import plan_lines
from images.providers.choose import provider
from images.secrets.gather import lookup
from specs.errors import BakehouseError, UsageError
from specs.read import read

__all__ = ["dry_run", "look", "promote", "rollback", "site", "summary"]


def site(spec: str, home: Home, provider_name: str = "") -> Site:
    """The spec where it is deployed, by `deploy.provider` unless another one is named."""
    path = Path(spec)
    model = read(path)
    chosen = provider(
        provider_name or model.deploy.provider,
        home,
        model,
        lambda name: lookup(model, path, name, "the provider"),
    )
    return Site(home, chosen, model, path)


def promote(
    where: Site,
    *,
    image: str = "",
    first: bool = False,
    restore: bool = False,
    resume: bool = False,
    until: int = swap.LAST,
    blue_lost: bool = False,
    accept_loss: str = "",
    strategy: str = "",
) -> Outcome:
    """Whichever kind of promote was asked for; they exclude each other."""
    kinds = {"--first": first, "--resume": resume, "--blue-lost": blue_lost}
    chosen = [name for name, given in kinds.items() if given]
    if restore and not first:
        raise UsageError("--restore fills a new server alone", "`invoke promote --first --restore`")
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)}: only one of them makes sense", "choose one")
    progress = Progress()

    def act() -> Outcome:
        if resume:
            return swap.resume(where, progress) or nothing_to_resume(where)
        if blue_lost:
            return lost.blue_lost(where, progress, accept_loss, ask_person)
        chosen, told = (image, ()) if image else newest_good(where)
        for line in told:
            progress.note(line)
        verb: Verb = "restore" if restore else "first" if first else "promote"
        wanted = job(where, verb, chosen, strategy=strategy)
        if first:
            ended = begin.promote_first(wanted, progress)
        else:
            ended = swap.promote(wanted, progress, until)
        return replace(ended, notes=(*told, *ended.notes))

    return recorded(where, "promote", progress, act)


def generation(spec: str, word: str) -> int:
    """The number of `5` or `<spec>@5`, as `rollback --to` takes it; 0 for "". Raises UsageError for
    another word, or another spec's generation."""
    name, at, number = word.rpartition("@")
    if at and name != spec:
        raise UsageError(
            f"--to {word}: the spec is that of {spec}", "name the spec of that server with --spec"
        )
    if word and not (number.isdecimal() and int(number)):
        raise UsageError(
            f"--to {word}: no generation",
            f"name it as in `--to 5` or `--to {spec}@5`; `invoke generations` lists them",
        )
    return int(number or 0)


def rollback(where: Site, to: int = 0) -> Outcome:
    """Swap back to generation `to`, or to what served before."""
    progress = Progress()
    return recorded(where, "rollback", progress, lambda: rolling.rollback(where, progress, to))


def recorded(
    where: Site,
    deed: Literal["promote", "rollback"],
    progress: Progress,
    act: Callable[[], Outcome],
) -> Outcome:
    """A swap with its line in the journal. Raises BakehouseError when a person stops it."""
    with journal(where.home, where.name).recorded(deed, seconds=progress.seconds) as found:
        try:
            ended = act()
        except KeyboardInterrupt:
            raise BakehouseError(
                "stopped; what runs on the servers goes on and ends by itself",
                "`invoke promote --resume` goes on from here; `invoke status` shows what is",
            ) from None
        found |= {"generation": ended.generation, "server": ended.server, "pause": ended.pause}
        found["outcome"] = "rolled-back" if ended.rolled_back else "done"
        if ended.stopped_after is not None:
            found["outcome"] = "stopped"
        if ended.why:
            found["why"] = ended.why
        return ended


def dry_run(where: Site, image: str, strategy: str) -> list[str]:
    """What a promote would do, step by step; nothing is changed."""
    chosen, told = (image, ()) if image else newest_good(where)
    return [*told, *plan_lines(job(where, "promote", chosen, strategy=strategy), Progress())]


def nothing_to_resume(where: Site) -> Outcome:
    """Every run came to its end; what serves is told."""
    active = look(where).active()
    return Outcome(active.generation, active.name, None, notes=("there was nothing to resume",))


def ask_person(told: str, words: str) -> str:
    """The person's answer on the terminal; "" when it is closed (Ctrl-D). Raises UsageError where
    there is none."""
    if not sys.stdin.isatty():
        raise UsageError(f"the loss must be accepted: {told}", f"--accept-loss {words!r}")
    print(f"To go on, type: {words}", file=sys.stderr)
    try:
        return input("> ")
    except EOFError:
        print(file=sys.stderr)
        return ""


def summary(ended: Outcome) -> str:
    """How it ended, for a person."""
    pause = "" if ended.pause is None else f", write pause {ended.pause:.3f} s"
    told = f"generation {ended.generation} serves on {ended.server}{pause}"
    head = f"rolled back: {ended.why}\n{told}" if ended.rolled_back else told
    return "\n".join([head, *(f"  {note}" for note in ended.notes)])
