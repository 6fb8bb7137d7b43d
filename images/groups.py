"""Control groups of machines: how they are entered, kept over reboots, and ended at once.

They are our own, below the root and beside systemd's. From a process namespace systemd cannot be
asked for one, since it would move the wrong process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from specs.errors import BakehouseError

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
"""Enters a control group of our own, as Docker's `cgroupfs` driver does."""

PATIENCE: Final = 10.0
"""Seconds that killed processes may take to be gone."""


def contained(name: str, argv: Sequence[str]) -> list[str]:
    """The command in a control group of this name, started again whenever it ends with `REBOOT`.

    Two containers in one control group would take each other's services for their own.
    """
    keeper = ["sh", "-c", KEEPER, "keeper", str(group_root()), *argv]
    return ["sh", "-euc", JOIN, str(group_path(name)), *keeper]


def group_path(name: str) -> Path:
    """Where the group of this name is, or would be."""
    return group_root() / GROUP / name


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


def end_groups(pattern: str) -> None:
    """Kill all processes in the groups whose name fits, and remove the groups."""
    deadline = time.monotonic() + PATIENCE
    while groups := list((group_root() / GROUP).glob(pattern)):
        for group in groups:
            _kill(group)
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"the processes in {groups[0]} do not end", "restart this machine to be rid of them"
            )
        time.sleep(0.02)


def _kill(group: Path) -> None:
    """One round: everything dies at once where the kernel can (Linux 5.14), else one by one.

    Then each group that is already empty goes.
    """
    with suppress(OSError):
        (group / "cgroup.kill").write_text("1", encoding="ascii")
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            for pid in (Path(folder) / "cgroup.procs").read_text(encoding="ascii").split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            Path(folder).rmdir()
