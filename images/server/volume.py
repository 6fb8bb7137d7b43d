"""The volume with all data (`data.strategy: volume`): mounted here, or given to another server.

    volume boot                 at boot: mount it, when this server serves and has one
    volume take EPOCH DEVICE    mount it, record that this server serves, start all of it
    volume release EPOCH        recorded: this server works no more; then all that uses the volume
                                is stopped, and it is unmounted

A provider gives a volume to one server at a time, so this is the fence, too. What uses /data starts
only while it is a mount point. Every verb may be repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Final

from . import acts, record, roles, state
from .roles import Role
from .state import ProgramError

RECORD: Final = state.LIB / "volume"
"""The device of the volume that this server has, for its next boot."""

PATIENCE: Final = 60.0
"""Seconds until a device that was attached must be there."""

ENDING: Final = 5.0
"""Seconds that requests have to end before the apps do, while no new ones are taken."""

LET_GO: Final = 10.0
"""Seconds that the kernel may need until nothing is open there any more."""

UNREPAIRED: Final = 4
"""The bit of e2fsck's exit code that says: errors are left."""

USERS: Final = (
    "bakehouse-backup*",
    "bakehouse-app@*",
    "caddy*",
    "pgbouncer*",
    "postgresql@*",
    "bakehouse-databases*",
    "bakehouse-cluster*",
)
"""Units that use /data; `cloudinit.data` lets them start only while it is mounted."""


def boot() -> None:
    """Before anything that uses /data."""
    role = state.role()
    if role == "throwaway":  # has no volume, and is to show that all of it runs
        mount(str(state.DATA), "--options=bind,nodev,nosuid")
    elif role == "primary" and RECORD.exists():
        mount_volume(RECORD.read_text().strip())
    else:
        print("no volume: this server waits for one, or another one serves")


def take(epoch: int, device: str) -> None:
    """This server has the volume, and does all work. Raises ProgramError at what hinders it."""
    mount_volume(device)
    run("resize2fs", device)  # it may have been enlarged at the provider
    state.write(RECORD, device + "\n")
    run("systemd-tmpfiles", "--create", f"--prefix={state.DATA}")
    record.appoint(epoch)
    run("systemctl", "start", "multi-user.target")  # waits for all that it wants
    acts.start_workers()  # it does not want timers


def release(epoch: int) -> None:
    """Nothing here uses the volume any more, and it may be taken away."""
    record.change(lambda found: released(found, epoch))
    end_requests()
    run("systemctl", "stop", *USERS)
    unmount()
    RECORD.unlink(missing_ok=True)


def released(role: Role, epoch: int) -> Role:
    """Fenced; so it stays for a run that goes on with an earlier one."""
    known = role.state == "fenced" and role.epoch <= epoch
    return role if known else roles.retire(role, epoch, state.boot_id())


def end_requests() -> None:
    """Caddy is told to stop before the apps are: it would wait for an app that is gone."""
    run("systemctl", "stop", "--no-block", "caddy*")
    end = time.monotonic() + ENDING
    while acts.active(["caddy.service"]) and time.monotonic() < end:
        time.sleep(0.1)


def awaited(device: str) -> str:
    """The device, once it is there. Raises ProgramError when it does not come."""
    end = time.monotonic() + PATIENCE
    while not Path(device).is_block_device():
        if time.monotonic() > end:
            raise ProgramError(f"{device} is not there after {PATIENCE:g} s: is it attached?")
        time.sleep(0.2)
    return device


def mount_volume(device: str) -> None:
    """At /data, once it is there and its file system was looked at, as a disk's is at each boot."""
    awaited(device)
    if not os.path.ismount(state.DATA):
        repair(device)
        mount(device)


def repair(device: str) -> None:
    """Mend what a server that went off left, which takes no time when it was unmounted. Raises
    ProgramError when only a person can (e2fsck(8), "Exit code": 4); a mount tells all else."""
    done = subprocess.run(["e2fsck", "-p", device], capture_output=True, text=True, check=False)
    if done.stdout.strip() and done.returncode:
        print(done.stdout.strip())
    if done.returncode & UNREPAIRED:
        raise ProgramError(
            f"the file system on {device} is damaged beyond what is mended by itself: "
            f"keep a snapshot of the volume, then run `e2fsck {device}` here, and go on"
        )


def mount(what: str, option: str = "--options=nodev,nosuid") -> None:
    """At /data, unless something is."""
    if not os.path.ismount(state.DATA):
        run("mount", option, what, str(state.DATA))


def unmount() -> None:
    """Nothing is at /data. Raises ProgramError when somebody uses it all the time."""
    end = time.monotonic() + LET_GO
    while os.path.ismount(state.DATA):
        try:
            run("umount", str(state.DATA))
        except ProgramError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def run(*command: str) -> None:
    """Raises ProgramError with the command's last words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProgramError(f"{' '.join(command[:2])}: {done.stderr.strip() or done.returncode}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="volume", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("boot")
    verbs.add_parser("release").add_argument("epoch", type=int)
    taken = verbs.add_parser("take")
    taken.add_argument("epoch", type=int)
    taken.add_argument("device")
    words = parser.parse_args()
    if words.verb == "boot":
        boot()
        return
    if words.verb == "take":
        take(words.epoch, words.device)
    else:
        release(words.epoch)
    print(json.dumps(record.status()))


if __name__ == "__main__":
    state.run_program(main)
