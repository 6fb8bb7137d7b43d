"""Backups with Borg: dumps of every database, then `/data` without Postgres' own files.

    backup create   make an archive, thin out the old ones, free their space
    backup check    let Borg check the repository and its archives
    backup borg …   any Borg command, with this server's repository and passphrase

`create` and `check` do nothing but on the server that holds the truth, unless `--repository PATH`
names another place: that is how an image is proven, and how a copy is made by hand. How each ended
is recorded beside the data, for `invoke status`; of a copy elsewhere nothing is.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit, urlunsplit

from . import outcomes, state
from .dumps import DUMPS, dumps
from .repository import KNOWN_HOSTS, borg_environment, ensure_repository, remember, run_borg
from .state import ProgramError

LOCK: Final = state.RUN / "backup.lock"
PATIENCE: Final = 3600
"""Seconds that one backup or check waits for another to end."""

PARTIAL: Final = "-partial"
"""How the name of an archive without one of the databases ends."""

LIVELY: Final = frozenset({1, 100, 103, 107})
"""Warnings that files in use cause: changed, replaced or gone while they were read (100, 103, 107),
or several of these (1). What cannot be read (104 to 106) is missing in the archive: a failure."""


def main() -> None:
    """Run the verb that the unit, or a person, asks for."""
    arguments = parser().parse_args()
    facts = state.server()
    if not facts["borg"]:
        raise ProgramError("this server's spec has no borg section")
    signal.signal(signal.SIGTERM, stopped)
    making = arguments.verb == "create"
    if making:
        sweep()
    state.folder(KNOWN_HOSTS.parent, 0o700)
    if arguments.verb == "borg":
        environment = borg_environment(facts["borg"]["repository"], facts["name"])
        os.execvpe("borg", ["borg", *arguments.words], environment)  # noqa: S606
    if arguments.repository:
        with lock():
            VERBS[arguments.verb](facts, dict(facts["borg"], repository=arguments.repository))
    elif making:
        back_up(facts)
    else:
        look_over(facts)


def back_up(facts: dict[str, Any]) -> None:
    """A backup, where the data is; how it ended is recorded, and told to the monitor."""
    borg, recorded = facts["borg"], False
    try:
        role = state.role()
        recorded = role == "primary"  # also when its Postgres is down
        if not holds_the_data(facts, role):
            return
        recorded = True
        with lock():
            ping(borg["ping"], "/start")
            VERBS["create"](facts, borg)
    except SystemExit:  # a swap waits for it: no monitor is asked
        if recorded:
            outcomes.note_backup("it was stopped before its end")
        raise
    except (ProgramError, OSError) as failure:
        if recorded:
            outcomes.note_backup(reason(failure))
        ping(borg["ping"], "/fail")
        raise
    outcomes.note_backup()
    ping(borg["ping"], verdict(borg["repository"]))


def look_over(facts: dict[str, Any]) -> None:
    """A check, where the data is. The monitor, which waits for backups, is told of a failure only.

    One that is stopped, or could not begin, found nothing: the one before it still counts.
    """
    borg, begun = facts["borg"], False
    try:
        if not holds_the_data(facts, state.role()):
            return
        with lock():
            begun = True
            VERBS["check"](facts, borg)
    except (ProgramError, OSError) as failure:
        if begun:
            outcomes.note_check(borg["repository"], reason(failure))
        ping(borg["ping"], "/fail")
        raise
    outcomes.note_check(borg["repository"])


def holds_the_data(facts: dict[str, Any], role: str) -> bool:
    """Whether this server does, or says that another one does. Raises as `state.is_primary`."""
    found = state.is_primary(facts, role)
    if not found:
        print("nothing to do: another server holds the data")
    return found


def verdict(repository: str) -> str:
    """What the monitor hears after a good backup: of a check that failed, until one passes."""
    check = outcomes.last_check(repository)
    if check is None or check["ok"]:
        return ""
    print(f"<4>the last check of the repository failed: {check['why']}", file=sys.stderr)
    return "/fail"


def reason(failure: Exception) -> str:
    """Why, in words; never none."""
    return str(failure) or repr(failure)


def stopped(number: int, _: object) -> NoReturn:
    """For a signal: end by an exception, so that whatever is to be cleaned up is. Once only."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="backup", description=__doc__)
    verbs = result.add_subparsers(dest="verb", required=True)
    for verb in VERBS:
        verbs.add_parser(verb).add_argument("--repository", default="")
    borg = verbs.add_parser("borg")
    borg.add_argument("words", nargs=argparse.REMAINDER)
    return result


def create(facts: Mapping[str, Any], borg: Mapping[str, Any]) -> None:
    """One archive, then room for the next. Raises ProgramError when anything is not in it.

    One without a database is a partial one: it takes no whole one's place, neither when old ones
    are thinned out nor in a restore.
    """
    environment = borg_environment(borg["repository"], facts["name"])
    ensure_repository(environment)
    paths = archive_paths(facts, borg)
    with dumps(facts["postgres"], watching=state.role() != "throwaway") as lacking:
        kind = PARTIAL if lacking else ""
        present = [path for path in paths if Path(path).exists()]
        command = create_command(facts["name"], present, borg["exclude"], kind)
        run_borg(command, environment, LIVELY)
    if borg["repository"] == facts["borg"]["repository"]:  # a copy elsewhere may go
        remember(borg["repository"])
    run_borg(prune_command(facts["name"], borg["keep"], kind), environment)
    run_borg(["compact"], environment)
    what = "a partial archive" if lacking else "archive"
    why = [f"without the database {each}" for each in lacking]
    if missing := [path for path in paths if path not in present]:
        why.append(f"without what is not there: {', '.join(missing)}")
    if why:
        raise ProgramError(f"{what} made, but {'; '.join(why)}")


def check(facts: Mapping[str, Any], borg: Mapping[str, Any]) -> None:
    """Let Borg look for damage in the repository and in its archives."""
    run_borg(["check"], borg_environment(borg["repository"], facts["name"]))


def archive_paths(facts: Mapping[str, Any], borg: Mapping[str, Any]) -> list[str]:
    """Dumps, all of /data (what is not wanted is excluded), and what the spec names elsewhere."""
    wanted = [str(state.DATA), *facts["data"]["paths"], *borg["paths"]]
    if facts["postgres"]:
        wanted.append(str(DUMPS))
    inside = f"{state.DATA}/"
    return list(dict.fromkeys(path for path in wanted if not path.startswith(inside)))


def create_command(
    name: str, paths: Sequence[str], exclude: Sequence[str], kind: str = ""
) -> list[str]:
    """The files of a live Postgres are worth nothing in an archive; their dumps are.

    `kind` ends the archive's name.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    left_out = [f"pp:{state.DATA}/postgres", f"pp:{state.DATA}/lost+found", *exclude]
    return [
        *("create", "--stats", "--numeric-ids", "--exclude-caches", "--compression=auto,zstd"),
        *(f"--exclude={pattern}" for pattern in left_out),
        *(f"::{name}-{now}{kind}", "--", *paths),
    ]


def prune_command(name: str, keep: Mapping[str, int], kind: str = "") -> list[str]:
    """Thin out this spec's archives of one kind and no others."""
    rules = [f"--keep-{unit}={count}" for unit, count in keep.items()]
    return ["prune", "--list", f"--glob-archives={ours(name)}{kind}", *rules]


def ours(name: str) -> str:
    """The pattern of this spec's whole archives: a bare * would also mean `<name>-staging`."""
    return f"{name}-????-??-??T??:??:??"


def sweep() -> None:
    """Dumps that a killed run left are gone; whoever holds the lock makes some, and keeps them."""
    with suppress(OSError), LOCK.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(DUMPS, ignore_errors=True)


@contextmanager
def lock() -> Iterator[None]:
    """One backup or check at a time. Raises ProgramError when another runs for too long."""
    deadline = time.monotonic() + PATIENCE
    with LOCK.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ProgramError(
                        f"another backup or check runs for over {PATIENCE} s"
                    ) from None
                time.sleep(2)
        yield


VERBS: Final = {"create": create, "check": check}


def ping(url: str, suffix: str) -> None:
    """Tell a monitor how it goes. A monitor that is away does not fail a backup."""
    if not url:
        return
    try:
        with urllib.request.urlopen(ping_url(url, suffix), timeout=10):  # noqa: S310  validated
            pass
    except (OSError, ValueError) as error:
        print(f"<4>the monitor did not answer: {error}", file=sys.stderr)


def ping_url(url: str, suffix: str) -> str:
    """The URL with `suffix` after its path."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + suffix if suffix else parts.path
    return urlunsplit(parts._replace(path=path))


if __name__ == "__main__":
    state.run_program(main)
