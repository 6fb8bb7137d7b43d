"""Keeps one server of the local cloud switched on; a program that outlives the one that started it.

`python -m images.providers.local_keeper CLOUD SERVER` ends with 0 as soon as the server is on, and
goes on in the background: in its own session, control group, mount and process namespaces. So
nothing that happens to a verb touches a server, and killing the control group pulls the plug:
processes, mounts and loop devices go together. It holds the server's lock all the while.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from images.groups import contained, end_groups, group_path
from images.isolation import isolate
from images.machine import SEED, FirstBoot, nspawn_command, plain_folders, seed
from images.mounts import forget_others
from images.network import NAMESPACES, inside, network_config
from images.providers import local_power
from images.providers.local_disks import DEVICE_FOLDER, await_free, disk_mounted, root_mounted
from images.providers.local_state import CONSOLE, DEVICES, DISK, LOCK, ROOT, Cloud, Record, record
from images.rootfs import mounted
from images.run import run, start
from specs.errors import BakehouseError

NEEDED: Final = [Path(path) for path in ("/usr", "/etc", "/var", "/run", *sys.path, sys.prefix)]
"""What this program and nspawn read, or write for a moment."""

PATIENCE: Final = 10.0
"""Seconds to wait for the lock: a keeper may be on its way, up or down, and who asks whether a
server is on takes the lock for a moment."""


def main() -> None:
    """See the module; what goes wrong before the server is on is told on standard error."""
    cloud, server = Cloud(Path(sys.argv[1])), sys.argv[2]
    tell = detach(cloud.folder(server) / CONSOLE)
    try:
        keep_on(cloud, record(cloud, server), lambda: tell(""))
    except (BakehouseError, OSError) as error:
        tell(str(error))
        sys.exit(1)


def detach(console: Path) -> Callable[[str], None]:
    """Go on in a child that owns its session and writes to `console`; returns how it reports.

    This process ends at the first report: with 0 when that is empty, else it shows it and ends
    with 1.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            line = pipe.readline()
        told = json.loads(line) if line else "the keeper was killed"
        sys.stderr.write(told)
        sys.stderr.flush()
        os._exit(1 if told else 0)
    os.setsid()
    os.close(reader)
    with console.open("ab") as file, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)

    def tell(text: str) -> None:
        os.write(writer, json.dumps(text).encode() + b"\n")

    return tell


def keep_on(cloud: Cloud, server: Record, is_on: Callable[[], None]) -> None:
    """Boot the server, again whenever it reboots, until it goes down."""
    folder = cloud.folder(server.id)
    with (folder / LOCK).open("a") as lock:
        if not _take(lock, lambda: local_power.status(cloud, server.id) == "running"):
            is_on()  # another keeper has it
            return
        end_groups(cloud.group(server.id))
        await_free(folder / DISK)
        _join(group_path(cloud.group(server.id)) / "outer")
        isolate()
        forget_others([*NEEDED, NAMESPACES / cloud.name, cloud.root])
        with ExitStack() as stack:
            image = stack.enter_context(mounted(cloud.raw(server.image), folder / "image"))
            disk = stack.enter_context(disk_mounted(folder / DISK, folder / "mounted"))
            root = stack.enter_context(root_mounted(image, disk, folder / ROOT))
            first = FirstBoot(
                server.user_data, server.name, f"{cloud.name}-{server.id}", server.metadata
            )
            seed(
                root / SEED, first, network_config(server.address, "host0", further=server.further)
            )
            binds = {**plain_folders(root, disk), DEVICE_FOLDER: folder / DEVICES}
            # After a power cut the kernel takes the interface away in its own time.
            link = ["ip", "link", "delete", server.link]
            run(inside(cloud.name, link), check=False)
            boot = inside(cloud.name, nspawn_command(root, server.id, binds))
            machine = start(
                contained(cloud.group(server.id), boot),
                output=folder / CONSOLE,
                env={"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
            is_on()
            machine.wait()


def _take(lock: IO[str], runs: Callable[[], bool]) -> bool:
    """Hold the lock until this process and the one that waits for it ended.

    False when another keeper has it, whose server runs.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if runs() or time.monotonic() > deadline:
                return False
            time.sleep(0.02)


def _join(group: Path) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


if __name__ == "__main__":
    main()
