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

DO: Final = "edit, list or rekey"


@verb("spec", "json", do=DO)
def secrets(_: Context, do: str, spec: str = SPEC, json: bool = False) -> None:
    """Edit, list or rekey the secrets beside a spec: `secrets edit`, `secrets list`, …"""
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
    else:
        raise UsageError(f"{do}: no such thing to do with secrets", f"use {DO}")
