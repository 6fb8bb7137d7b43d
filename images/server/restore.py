"""The newest backup becomes what this server holds: for a new one, before anybody sees it.

    restore     the last line printed is JSON: the archive, and how many databases came out of it

Files first, among them the passwords of the apps; then roles and databases, then their content.
It may be repeated: each part replaces what an earlier attempt left. Until its end no app and no
timer runs, and no backup is made.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from . import acts, state
from .backup import lock, ours
from .databases import variable
from .dumps import DUMPS
from .repository import borg_environment, run_borg
from .state import ProgramError

INSIDE: Final = str(DUMPS).lstrip("/")
"""The dumps' folder as an archive names it."""

GLOBALS: Final = "globals.sql"

CREATE: Final = r"""
SELECT format('CREATE DATABASE %I', :'database')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
"""


def main() -> None:
    """Do it. Raises ProgramError with the reason, and what is there then is no whole restore."""
    facts = state.server()
    if not facts["borg"]:
        raise ProgramError("this server's spec has no borg section")
    if state.ROLE.exists() or state.role() != "primary":
        raise ProgramError("this server is not a new one: restore by hand (docs/backup.md)")
    os.chdir("/")  # where an archive's paths begin
    environment = borg_environment(facts["borg"]["repository"], facts["name"])
    archive = newest(facts["name"], environment)
    print(f"restoring {archive}", flush=True)
    with lock():
        quiet(facts)
        run_borg(
            ["extract", "--numeric-ids", f"--exclude=pp:{INSIDE}", f"::{archive}"], environment
        )
        count = restore_databases(facts, archive, environment)
        back(facts)
    print(json.dumps({"archive": archive, "databases": count}), flush=True)


def newest(name: str, environment: Mapping[str, str]) -> str:
    """The spec's last whole archive. Raises ProgramError when there is none or Borg cannot tell."""
    found = asked(["list", "--short", "--last=1", f"--glob-archives={ours(name)}"], environment)
    if not found:
        raise ProgramError(f"{environment['BORG_REPO']} holds no whole archive of {name}")
    return found[-1]


def asked(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The lines that Borg answers."""
    done = subprocess.run(
        ["borg", *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ProgramError(f"borg {words[0]}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def units(facts: Mapping[str, Any]) -> list[str]:
    """What would write, or read what is not there yet."""
    apps = [f"bakehouse-app@{app['name']}.service" for app in facts["apps"]]
    return [*acts.TIMERS, *apps]


def quiet(facts: Mapping[str, Any]) -> None:
    """Nothing writes any more."""
    acts.systemctl("stop", *units(facts), patience=300)


def back(facts: Mapping[str, Any]) -> None:
    """Apps and timers start, and Caddy with the certificates that came back."""
    caddy = ["caddy.service"] if acts.active(["caddy.service"]) else []
    acts.systemctl("restart", "--no-block", *caddy, *units(facts))


def restore_databases(
    facts: Mapping[str, Any], archive: str, environment: Mapping[str, str]
) -> int:
    """Roles, databases and their content; how many databases."""
    if not facts["postgres"]:
        return 0
    version = int(facts["postgres"]["version"])
    listed = asked(["list", "--format={path}{NL}", f"::{archive}", INSIDE], environment)
    names = sorted(Path(path).name for path in listed)
    if GLOBALS in names:
        restore_roles(version, f"::{archive}", environment)
    acts.systemctl("restart", "bakehouse-databases.service", patience=300)
    dumps = [name for name in names if name.endswith(".dump")]
    for name in dumps:
        database = name.removesuffix(".dump").replace("%2F", "/")
        print(f"restoring the database {database}", flush=True)
        state.psql(version, variable("database", database) + CREATE)
        command = [state.binary(version, "pg_restore"), *as_administrator()]
        command += ["--clean", "--if-exists", "--single-transaction", f"--dbname={database}"]
        said = piped(f"::{archive}", name, command, environment)
        if said:
            raise ProgramError(f"the database {database} could not be restored: {said}")
        state.psql(version, "ANALYZE;", database)
    return len(dumps)


def restore_roles(version: int, archive: str, environment: Mapping[str, str]) -> None:
    """Every role that the archive knows; of those that are there already, their attributes."""
    command = [state.binary(version, "psql"), *as_administrator(), "--no-psqlrc", "--quiet"]
    piped(archive, GLOBALS, [*command, "--dbname=postgres"], environment)


def as_administrator() -> list[str]:
    """Options of Postgres' programs."""
    return [f"--host={state.SOCKETS}", "--username=postgres"]


def piped(archive: str, name: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Feed a file of the dumps to a command; what it said when it failed, else "".

    Raises ProgramError when Borg cannot read the file.
    """
    words = ["borg", "extract", "--stdout", archive, f"{INSIDE}/{name}"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            command, stdin=source.stdout, capture_output=True, text=True, check=False
        )
    if done.returncode == 0 and source.returncode != 0:
        raise ProgramError(f"borg could not read {name} from {archive}")
    return done.stderr.strip() if done.returncode else ""


if __name__ == "__main__":
    state.run_program(main)
