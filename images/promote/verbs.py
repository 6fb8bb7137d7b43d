"""The verbs promote, rollback and status. Each parses its call, calls one function, prints.

What a verb needs is imported when it runs, as in `tasks`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from invoke.context import Context

from images.calls import emit
from images.options import IMAGE_HELP, SPEC, verb

PROMOTE_HELP: Final = {
    "image": IMAGE_HELP,
    "first": "deploy the first server: the only way to an empty database; refused if any data is",
    "restore": "with --first: the newest backup is in it before users see it",
    "resume": "go on with a run that was cut short, from this or another machine",
    "dry_run": "show the steps with what each one's probe says now; nothing is changed",
    "until": "stop after this step (0, 1, 2, 11, 12 or 13)",
    "blue_lost": "the serving server is dead: another takes over; what it lacks is lost",
    "accept_loss": "with --blue-lost: the words that accept the loss (else they are asked for)",
    "strategy": "refuse an image whose data.strategy is another than this",
}


@verb("spec", "store", "json", "provider", **PROMOTE_HELP)
def promote(
    _: Context,
    image: str = "",
    spec: str = SPEC,
    provider: str = "",
    first: bool = False,
    restore: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    until: int = 14,
    blue_lost: bool = False,
    accept_loss: str = "",
    strategy: str = "",
    store: str = "",
    json: bool = False,
) -> None:
    """Swap in an image: the whole server with all its data, while its users notice nothing."""
    from images.home import find_home
    from images.promote import calling

    site = calling.site(spec, find_home(store), provider)
    if dry_run:
        lines = calling.dry_run(site, image, strategy)
        emit(json, {"steps": lines}, "\n".join(lines))
        return
    ended = calling.promote(
        site,
        image=image,
        first=first,
        restore=restore,
        resume=resume,
        until=until,
        blue_lost=blue_lost,
        accept_loss=accept_loss,
        strategy=strategy,
    )
    _tell(json, ended)


def _tell(json: bool, ended: Any) -> None:
    """The end of a swap; the exit code is 1 when what served before serves again."""
    from images.promote.calling import summary

    emit(json, ended.as_data(), summary(ended))
    if ended.rolled_back:
        sys.exit(1)


@verb(
    "spec",
    "store",
    "json",
    "provider",
    to="the generation, as 5 or <spec>@5 (default: the last one)",
)
def rollback(
    _: Context,
    to: str = "",
    spec: str = SPEC,
    provider: str = "",
    store: str = "",
    json: bool = False,
) -> None:
    """Swap back to an earlier generation; the data stays the newest."""
    from images.home import find_home
    from images.promote import calling

    site = calling.site(spec, find_home(store), provider)
    _tell(json, calling.rollback(site, calling.generation(site.name, to)))


@verb("spec", "store", "json", "provider", confirm="the spec's name: delete it all, data too")
def destroy(
    _: Context,
    spec: str = SPEC,
    provider: str = "",
    confirm: str = "",
    store: str = "",
    json: bool = False,
) -> None:
    """List everything of a spec at its provider; with --confirm, delete it."""
    from images.garbage import summary
    from images.home import find_home
    from images.promote import calling
    from images.promote import destroy as end

    site = calling.site(spec, find_home(store), provider)
    if not confirm:
        found = end.everything(site)
        text = [*map(str, found), f"`invoke destroy --confirm {site.name}` deletes all of this"]
        emit(json, {"left": [one.as_data() for one in found], "freed": []}, "\n".join(text))
        return
    freed = end.destroy(site, confirm, lambda line: print(line, file=sys.stderr))
    emit(json, {"left": [], "freed": [one.as_data() for one in freed]}, summary(freed))


@verb("spec", "store", "json", "provider", history="what was done, and when")
def status(
    _: Context,
    spec: str = SPEC,
    provider: str = "",
    history: bool = False,
    store: str = "",
    json: bool = False,
) -> None:
    """Show what runs where: servers, roles, the floating IP, and who works on it."""
    from images.history import journal
    from images.history import told as line_of
    from images.home import find_home
    from images.promote import calling
    from images.promote import status as told

    home = find_home(store)
    if history:
        from specs.read import read

        entries = list(journal(home, read(Path(spec)).name).steps())
        emit(json, entries, "\n".join(map(line_of, entries)) or "nothing was done yet")
        return
    world = calling.look(calling.site(spec, home, provider))
    drifted = told.drift(world)
    emit(json, told.as_data(world, drifted), "\n".join(told.lines(world, drifted)))
