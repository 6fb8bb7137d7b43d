"""Files that outlive a server: everything in /data but Postgres' own, carried from the peer.

rsync runs here as root and asks the peer's forced command, which knows exactly these words. The
passes of one process share one SSH connection, so that the last one, inside the pause, starts at
once.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from . import state
from .state import ProgramError

Kind = Literal["mirror", "late", "dry"]

CONFIG: Final = "/var/lib/bakehouse/peer/ssh_config"
VANISHED: Final = 24
"""rsync's exit code when files went away while it read them (rsync(1)); the next pass tells."""

OURS: Final = ("/postgres", "/lost+found")
"""In /data, but not to be carried: Postgres carries its own."""

WAIT: Final = 600
"""Seconds without any progress after which rsync gives up."""


def folders(facts: dict[str, Any]) -> list[str]:
    """/data, and what the spec wants carried besides it."""
    data = str(state.DATA)
    further = (str(path).rstrip("/") for path in facts["data"]["paths"])
    return [data, *(path for path in further if not f"{path}/".startswith(f"{data}/"))]


def shell(socket: Path) -> str:
    """The remote shell for rsync, with one connection for all passes that name this socket."""
    share = "-oControlMaster=auto -oControlPersist=60"
    return f"ssh -F {CONFIG} {share} -oControlPath={socket}"


def command(folder: str, kind: Kind, socket: Path, without: Iterable[str] = ()) -> list[str]:
    """One pass over one folder, but for the paths `without`.

    `mirror` makes it the same here, `late` only adds and never takes a newer file's place, `dry`
    only counts.
    """
    words = ["rsync", "-aHAX", "--numeric-ids", f"--timeout={WAIT}"]
    words += ["--update"] if kind == "late" else ["--delete"]
    words += ["--dry-run", "--stats"] if kind == "dry" else []
    if folder == str(state.DATA):
        words += [f"--exclude={name}" for name in OURS]
    words += [f"--exclude={pattern(path, folder)}" for path in without]
    return [*words, f"--rsh={shell(socket)}", f"peer:{folder}/", f"{folder}/"]


def pattern(path: str, folder: str) -> str:
    """What means exactly this path to rsync's filters, anchored in the folder (rsync(1))."""
    return re.sub(r"([*?\[\\])", r"\\\1", path.removeprefix(folder))


def listing(paths: Sequence[str]) -> frozenset[str]:
    """Every file that would be carried and is here now."""
    found = []
    for path in paths:
        ours = [f"{path}{name}" for name in OURS] if path == str(state.DATA) else []
        for folder, folders, files in os.walk(path):
            folders[:] = [name for name in folders if f"{folder}/{name}" not in ours]
            found += [f"{folder}/{name}" for name in files]
    return frozenset(found)


def own_socket() -> Path:
    """Where this process' shared connection is; a killed one's is in nobody's way."""
    return state.RUN / f"sync-{os.getpid()}"


def run(paths: Sequence[str], kind: Kind = "mirror", known: Iterable[str] = ()) -> str:
    """One pass over all folders, side by side; what rsync printed.

    `known` files that are not here any more were taken away since, and are not carried again.
    Raises ProgramError when a pass failed; the other folders are then complete all the same.
    """
    socket = own_socket()
    gone = sorted(path for path in known if not os.path.lexists(path))
    running = []
    for path in paths:
        Path(path).mkdir(parents=True, exist_ok=True)
        running.append(
            subprocess.Popen(
                command(path, kind, socket, (x for x in gone if x.startswith(f"{path}/"))),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said, failed = [], []
    for path, process in zip(paths, running, strict=True):
        out, err = process.communicate()
        said.append(out)
        if process.returncode not in (0, VANISHED):
            failed.append(f"{path}: {' '.join(err.split()) or process.returncode}")
    if failed:
        raise ProgramError(f"files were not carried: {'; '.join(failed)}")
    return "".join(said)


def pending(paths: Sequence[str]) -> dict[str, int]:
    """What a pass would do now: `files` to carry and their `bytes`."""
    return counted(run(paths, "dry"))


def counted(text: str) -> dict[str, int]:
    """The sums in rsync's `--stats`."""
    names = {
        "files": r"^Number of regular files transferred: ([\d,]+)",
        "bytes": r"^Total transferred file size: ([\d,]+)",
    }
    return {
        name: sum(int(found.replace(",", "")) for found in re.findall(pattern, text, re.MULTILINE))
        for name, pattern in names.items()
    }


def close() -> None:
    """End the shared connection."""
    words = ["ssh", "-F", CONFIG, f"-oControlPath={own_socket()}", "-O", "exit", "peer"]
    subprocess.run(words, check=False, capture_output=True)
