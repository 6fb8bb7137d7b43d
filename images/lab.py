"""A place for throwaway machines: a folder and a network namespace of one name, held by a lock.

Everything a run makes on this machine (mounts, control groups, the namespace) carries the lab's
name. The kernel drops the lock with the process that holds it, so the next run can tell what a
killed one left behind, and sweeps it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.network import NAMESPACES, delete_command, inside, network
from images.run import Result, require_root, run
from specs.errors import BakehouseError

FOLDER: Final = Path("/run/bakehouse-lab")
PREFIX: Final = "bh-"
GROUP: Final = "bakehouse"
REBOOT: Final = 133
"""nspawn's exit code, under --keep-unit, when the machine asked for a reboot (its nspawn.c)."""

KEEPER: Final = f"""
group=$1$(sed -n 's/^0:://p' /proc/self/cgroup); shift
mkdir "$group/keeper" && echo $$ >"$group/keeper/cgroup.procs"
for controller in $(cat "$group/cgroup.controllers"); do
    echo "+$controller" >"$group/cgroup.subtree_control"
done
boot=0
while boot=$((boot + 1)); do
    mkdir "$group/boot$boot"
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group/boot$boot" "$@"
    code=$?
    [ $code = {REBOOT} ] || exit $code
done
"""
"""Boots a machine again when it asks for it, also when we are gone. Each boot is a control group of
its own, and the keeper too: one that holds processes cannot pass controllers on (cgroups(7))."""

JOIN: Final = """
mkdir -p "$0"
for controller in $(cat "${0%/*}/cgroup.controllers"); do
    echo "+$controller" >"${0%/*}/cgroup.subtree_control"
done
echo $$ >"$0/cgroup.procs"
exec "$@"
"""
"""Enters a control group of our own below the root, beside systemd's, as Docker's `cgroupfs` driver
does: from a process namespace systemd cannot be asked, since it would move the wrong process."""

PATIENCE: Final = 10.0
"""Seconds that killed processes may take to be gone."""


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

        Two containers in one control group would take each other's services for their own. The
        command is started again whenever it ends with `REBOOT`.
        """
        group = group_root() / GROUP / f"{self.name}-{machine}"
        keeper = ["sh", "-c", KEEPER, "keeper", str(group_root()), *self.client(argv)]
        return ["sh", "-euc", JOIN, str(group), *keeper]

    def link(self, machine: str) -> str:
        """The machine's network interface on our side, as nspawn names it; 15 bytes at most."""
        return f"vb-{self.name}-{machine}"

    def kill(self, machine: str) -> None:
        """End every process of a machine at once, as if the power had gone."""
        _end_groups(f"{self.name}-{machine}")


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
    return swept


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
    _end_groups(f"{name}-*")
    for mount in reversed(mounts_below(FOLDER / name)):
        run(["umount", mount])


def mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder, in the order in which they were mounted."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = line.split()[4]
        if point.startswith(f"{folder}/"):
            points.append(point)
    return points


def _end_groups(pattern: str) -> None:
    """Kill all processes in the control groups of that name and remove the groups."""
    deadline = time.monotonic() + PATIENCE
    while groups := list((group_root() / GROUP).glob(pattern)):
        for group in groups:
            _kill_group(group)
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"the processes in {groups[0]} do not end", "restart this machine to be rid of them"
            )
        time.sleep(0.02)


def _kill_group(group: Path) -> None:
    """One round: a kill for each process, then remove each group that is already empty."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            for pid in (Path(folder) / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            Path(folder).rmdir()


def group_root() -> Path:
    """Where the unified control groups are mounted: alone, or beside the old ones.

    Raises BakehouseError when the kernel shows only the old kind.
    """
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (root / "cgroup.controllers").exists():
            return root
    raise BakehouseError(
        "this machine shows no unified control groups (cgroup v2)",
        "mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
    )
