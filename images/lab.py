"""A place for throwaway machines: a folder and a network namespace of one name, held by a lock.

Everything a run makes on this machine (mounts, control groups, the namespace) carries the lab's
name. The kernel drops the lock with the process that holds it, so the next run can tell what a
killed one left behind, and sweeps it.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.groups import GROUP, contained, end_groups, group_root
from images.mounts import mounts_below
from images.network import NAMESPACES, delete_command, inside, network
from images.run import Result, require_root, run

FOLDER: Final = Path("/run/bakehouse-lab")
PREFIX: Final = "bh-"


@dataclass(frozen=True, slots=True)
class Lab:
    """`name` is also the namespace's; `folder` is gone when the lab closes."""

    name: str
    folder: Path

    def client(self, argv: Sequence[str]) -> list[str]:
        """The command as run on the client's side of the network."""
        return inside(self.name, argv)

    def run_client(self, argv: Sequence[str], timeout: float = 60, check: bool = True) -> Result:
        """Run a command on the client's side: curl, a scanner, a database client."""
        return run(self.client(argv), timeout=timeout, check=check)

    def contained(self, machine: str, argv: Sequence[str]) -> list[str]:
        """The command in the lab's network and in a control group of the machine's own.

        It is started again whenever the machine reboots.
        """
        return contained(f"{self.name}-{machine}", self.client(argv))

    def link(self, machine: str) -> str:
        """The machine's network interface on our side, as nspawn names it; 15 bytes at most."""
        return f"vb-{self.name}-{machine}"

    def kill(self, machine: str) -> None:
        """End every process of a machine at once, as if the power had gone."""
        end_groups(f"{self.name}-{machine}")


@contextmanager
def lab() -> Iterator[Lab]:
    """A new lab, after a sweep; in the end nothing is left that carries its name. Needs root."""
    require_root("booting a machine")
    sweep()
    name = f"{PREFIX}{secrets.token_hex(3)}"  # so short that nspawn need not shorten `link`
    place = Lab(name, FOLDER / name)
    with _held(place.folder):
        try:
            with network(name):
                try:
                    yield place
                finally:
                    _undo(name)
        finally:
            shutil.rmtree(place.folder, ignore_errors=True)


def sweep() -> list[str]:
    """Remove what killed runs left behind, and return the names of their labs. Needs root."""
    swept = []
    with _registry():
        for lock in sorted(FOLDER.glob(f"{PREFIX}*.lock")):
            with lock.open("a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                name = lock.stem
                _undo(name)
                if (NAMESPACES / name).exists():
                    run(delete_command(name))
                shutil.rmtree(FOLDER / name, ignore_errors=True)
                lock.unlink()
                swept.append(name)
        for group in _ownerless():
            end_groups(group)
    return swept


def _ownerless() -> list[str]:
    """Control groups of labs that are gone: a process that was just starting can make one after
    its lab was swept."""
    labs = {lock.stem for lock in FOLDER.glob(f"{PREFIX}*.lock")}
    groups = [path.name for path in (group_root() / GROUP).glob(f"{PREFIX}*")]
    return [group for group in groups if group.rpartition("-")[0] not in labs]


@contextmanager
def _registry() -> Iterator[None]:
    """Held while labs are entered or swept: a lock file must not be seen before it is locked."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (FOLDER / "registry").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder, and its lock beside it, held until we end, however we end."""
    lock = folder.with_name(f"{folder.name}.lock")
    with ExitStack() as stack:
        with _registry():
            file = stack.enter_context(lock.open("a"))
            fcntl.flock(file, fcntl.LOCK_EX)
            folder.mkdir(mode=0o700)
        stack.callback(lock.unlink, missing_ok=True)
        yield


def _undo(name: str) -> None:
    """End the lab's processes, then its mounts: a mount is busy while a process uses it."""
    end_groups(f"{name}-*")
    for mount in reversed(mounts_below(FOLDER / name)):
        run(["umount", mount])
