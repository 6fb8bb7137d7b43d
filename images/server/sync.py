"""Files that outlive a server: everything in /data but Postgres' own, carried from the peer.

rsync runs here as root and asks the peer's forced command, which knows exactly these words. The
passes of one process share one SSH connection, so that the last one, inside the pause, starts at
once.
"""

from __future__ import annotations

import os
import re
import select
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

PARTIAL: Final = 23
"""The same when something could not be carried whole, such as a file that grew shorter."""

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
    only counts. Devices are nobody's data, and sockets and pipes are made anew by who uses them.
    """
    words = ["rsync", "-aHAX", "--no-devices", "--no-specials", "--numeric-ids"]
    words += [f"--timeout={WAIT}"]
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
    """One pass over all folders, side by side, and another one when a file changed under it; what
    rsync printed.

    `known` files that are not here any more were taken away since, and are not carried again.
    Raises ProgramError when a pass failed; the other folders are then complete all the same.
    """
    gone = sorted(path for path in known if not os.path.lexists(path))
    ends = _pass(paths, kind, gone)
    if any(end.returncode == PARTIAL for end in ends):
        ends = _pass(paths, kind, gone)
    failed = [
        f"{path}: {' '.join(end.stderr.split()) or end.returncode}"
        for path, end in zip(paths, ends, strict=True)
        if end.returncode not in (0, VANISHED)
    ]
    if failed:
        raise ProgramError(f"files were not carried: {'; '.join(failed)}")
    return "".join(end.stdout for end in ends)


def _pass(
    paths: Sequence[str], kind: Kind, gone: Sequence[str]
) -> list[subprocess.CompletedProcess[str]]:
    """How rsync ended for each folder."""
    running = []
    for path in paths:
        Path(path).mkdir(parents=True, exist_ok=True)
        without = (name for name in gone if name.startswith(f"{path}/"))
        words = command(path, kind, own_socket(), without)
        pipe = subprocess.PIPE
        running.append(
            subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        )
    ends = []
    for path, process in zip(paths, running, strict=True):
        out, err = process.communicate()
        ends.append(subprocess.CompletedProcess(path, process.returncode, out, err))
    return ends


OPENED: Final = 10.0
"""Seconds that the other end may take to be there; without it the pass begins anew."""


class Ready:
    """A pass whose other end already runs and waits for our first word.

    It reads no folder before it has our filters. So all of it may be started early, and held apart
    by the remote shell that our rsync is given.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.ends = {path: self._open(path) for path in paths}
        for end in self.ends.values():
            assert end.stdout is not None
            select.select([end.stdout], [], [], OPENED)  # it begins with its version
        self.wait, self.go = os.pipe()
        self.passes = [
            subprocess.Popen(tied(path, self._relay(end)), stdin=subprocess.DEVNULL)
            for path, end in self.ends.items()
        ]

    @staticmethod
    def _open(path: str) -> subprocess.Popen[bytes]:
        words = ["ssh", "-F", CONFIG, "-oControlPath=none", "peer", *asked(path)]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _relay(self, end: subprocess.Popen[bytes]) -> str:
        assert end.stdin is not None
        assert end.stdout is not None
        return relay(self.wait, end.stdin.fileno(), end.stdout.fileno())

    def run(self) -> None:
        """The pass; in its place a whole new one when an end was lost meanwhile."""
        os.write(self.go, b"\n" * len(self.passes))
        codes = [process.wait() for process in self.passes]
        self.close()
        if any(code not in (0, VANISHED) for code in codes):
            run(list(self.ends))

    def close(self) -> None:
        """Hang up; the other end goes with the connection."""
        os.close(self.wait)
        os.close(self.go)
        for end in self.ends.values():
            for pipe in (end.stdin, end.stdout):
                if pipe is not None:
                    pipe.close()
            end.terminate()
            end.wait()


def asked(path: str) -> list[str]:
    """The words with which our rsync asks for this folder, as it gives them to ssh."""
    tell = '--rsh=/bin/sh -c \'printf "word:%s\\n" "$@" >&2; exit 1\''
    done = subprocess.run(
        [*command(path, "mirror", own_socket()), tell],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    words = [line[5:] for line in done.stderr.splitlines() if line.startswith("word:")]
    if words[:1] != ["rsync"]:
        raise ProgramError(f"rsync does not say how it asks for {path}: {done.stderr[:200]}")
    return words


def tied(path: str, shell: str) -> list[str]:
    """A pass by this remote shell in the place of ssh.

    By default rsync lets its remote shell's output be non-blocking (rsync(1), --blocking-io), which
    ssh copes with and `cat` does not: it ends at the first full buffer.
    """
    return [*command(path, "mirror", own_socket()), "--blocking-io", f"--rsh={shell}"]


def relay(wait: int, there: int, back: int) -> str:
    """A remote shell that waits for a line from `wait`, and then only ties rsync to two pipes.

    All three are ours, by their numbers. It ends when the other end does: rsync waits for that, and
    keeps its own side open.
    """
    ours = f"/proc/{os.getpid()}/fd"
    line = (
        f"exec 3<&0; read -r _ <{ours}/{wait} || exit 1; cat <&3 >{ours}/{there} & "
        f"cat <{ours}/{back}; kill $! 2>/dev/null || :"
    )
    return f"/bin/sh -c '{line}'"


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
