"""The power switch of servers of the local cloud. A server is on while its lock is held."""

from __future__ import annotations

import fcntl
import sys
import time
from pathlib import Path
from typing import Final

from images.groups import end_groups, group_path
from images.providers.base import Status
from images.providers.local_disks import await_free
from images.providers.local_state import DISK, LOCK, ROOT, Cloud
from images.run import CommandError, run
from specs.errors import BakehouseError

PROJECT: Final = Path(__file__).parents[2]
KEEPER: Final = "images.providers.local_keeper"
PATIENCE: Final = 30.0
"""Seconds until a server must be off after its plug was pulled."""

HOST_KEY: Final = "etc/ssh/ssh_host_ed25519_key.pub"


def status(cloud: Cloud, server: str) -> Status:
    """Whether it is on, and if so whether a boot has begun."""
    group = group_path(cloud.group(server))
    if not _held(cloud.folder(server) / LOCK) and not _populated(group):
        return "off"
    return "running" if any(group.glob("boot*")) else "starting"


def switch_on(cloud: Cloud, server: str) -> None:
    """Start its keeper, and wait until the boot has begun; nothing happens when it has one.

    Raises BakehouseError with the keeper's reason.
    """
    if status(cloud, server) == "running":
        return
    keeper = [sys.executable, "-m", KEEPER, str(cloud.root), server]
    try:
        run(keeper, cwd=PROJECT, timeout=120)
    except CommandError as error:
        cut(cloud, server)
        raise BakehouseError(
            f"the server {server} cannot be switched on\n{error.message}",
            f"its console: {cloud.folder(server) / 'console.log'}",
        ) from error


def cut(cloud: Cloud, server: str) -> None:
    """End everything that runs for it at once; off for certain when this returns.

    Takes no lock of ours: a stopped process of ours must not keep a server alive. Raises
    BakehouseError when something does not end.
    """
    deadline = time.monotonic() + PATIENCE
    end_groups(cloud.group(server))
    while status(cloud, server) != "off":
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"the server {server} does not go off", "restart this machine to be rid of it"
            )
        time.sleep(0.02)
        end_groups(cloud.group(server))
    await_free(cloud.folder(server) / DISK)


def host_key(cloud: Cloud, server: str) -> str:
    """The public host key on its own disk, seen through its keeper; "" while it has none."""
    for pid in _pids(group_path(cloud.group(server)) / "outer"):
        file = Path(f"/proc/{pid}/root{cloud.folder(server) / ROOT / HOST_KEY}")
        try:
            return file.read_text(encoding="utf-8")
        except OSError:
            continue
    return ""


def _pids(group: Path) -> list[str]:
    try:
        return (group / "cgroup.procs").read_text(encoding="ascii").split()
    except OSError:
        return []


def _populated(group: Path) -> bool:
    try:
        return "populated 1" in (group / "cgroup.events").read_text(encoding="ascii")
    except OSError:
        return False


def _held(lock: Path) -> bool:
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
