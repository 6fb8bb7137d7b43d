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
    """To every server that runs; the exit code tells when one failed, after all had their turn."""
    from images.home import find_home
    from images.promote import calling
    from images.secrets.servers import deliver_all

    told = deliver_all(calling.site(spec, find_home(store), provider))
    lines = [one.line() for one in told]
    emit(json, [one.as_data() for one in told], "\n".join(lines) or "no server runs")
    failed = [one.error.exit_code for one in told if one.error]
    if failed:
        if not json:
            print(f"error: {len(failed)} of {len(told)} servers failed, see above", file=sys.stderr)
        sys.exit(max(failed))
