"""The verb `secrets`. What it needs is imported when it runs, as in `tasks`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from invoke.context import Context

from images.calls import emit
from images.options import SPEC, verb
from specs.errors import UsageError

DO: Final = "edit, list, rekey or deliver"


@verb("spec", "store", "json", "provider", do=DO)
def secrets(
    _: Context,
    do: str,
    spec: str = SPEC,
    provider: str = "",
    store: str = "",
    json: bool = False,
) -> None:
    """The secrets beside a spec: `secrets edit`, `list`, `rekey`, or `deliver` to its servers."""
    from images.secrets import edit as work
    from images.secrets.vault import secrets_path
    from specs.read import read

    path, model = Path(spec), read(Path(spec))
    file = secrets_path(path)
    if do == "edit":
        changed = work.edit(model, path, lambda line: print(line, file=sys.stderr))
        text = f"{file}: encrypted anew" if changed else "nothing changed"
        emit(json, {"path": str(file), "changed": changed}, text)
    elif do == "list":
        found = work.entries(model, path)
        lines = [*(entry.line() for entry in found), *work.hints(found)]
        emit(json, [asdict(entry) for entry in found], "\n".join(lines) or "no secrets")
    elif do == "rekey":
        to = work.rekey(model, path)
        text = "\n".join([f"{file} can now be opened by:", *(f"  {key}" for key in to)])
        emit(json, {"path": str(file), "recipients": list(to)}, text)
    elif do == "deliver":
        _deliver(spec, provider, store, json)
    else:
        raise UsageError(f"{do}: no such thing to do with secrets", f"use {DO}")


def _deliver(spec: str, provider: str, store: str, json: bool) -> None:
    """To every server that runs, what its own image needs; apps that read what changed restart."""
    from images.home import find_home
    from images.promote import calling
    from images.promote.job import plan_of
    from images.secrets.deliver import deliver, restart_readers
    from images.secrets.gather import gather
    from specs.needs import needed

    site = calling.site(spec, find_home(store), provider)
    running = [server for server in site.provider.servers(site.name) if server.status == "running"]
    told, lines = [], []
    for server in running:
        image = plan_of(site, server)
        values = gather(site.spec, site.spec_file, image)
        door = site.contact(server).door
        changed = deliver(door, values)
        apps = restart_readers(door, changed, needed(image or site.spec))
        told.append({"server": server.name, "changed": list(changed), "restarted": list(apps)})
        again = f"; restarted: {', '.join(apps)}" if apps else ""
        lines.append(f"{server.name}: {', '.join(changed) or 'nothing'} changed{again}")
    emit(json, told, "\n".join(lines) or "no server runs")
