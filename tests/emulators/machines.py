"""The real servers of an emulator: machines, disks and addresses of a local cloud of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Final

from images.garbage import collect
from images.groups import group_path
from images.home import Home
from images.mounts import merged
from images.network import NAMESPACES, Address, inside
from images.providers import local_garbage, local_network, local_power
from images.providers.base import Order, Status
from images.providers.local import Local
from images.providers.local_disks import disk_mounted, make_disk
from images.providers.local_servers import create as create_server
from images.providers.local_state import DISK, ROOT, keep, record, records
from images.rootfs import mounted
from images.run import run
from specs.errors import BakehouseError
from tests.emulators.served import entered

PATIENCE: Final = 90.0
"""Seconds that a server may take to go down in order."""

RESCUED: Final = "/dev/sda"
"""Where the rescue system finds the server's disk, as Hetzner's servers have it."""

RESCUED_SIZE: Final = 12 << 30
"""Bytes; takes what is written."""

POWEROFF: Final = signal.SIGRTMIN + 4
REBOOT: Final = signal.SIGRTMIN + 5
"""What systemd takes for orders (systemd(1), "Signals")."""


class Machines:
    """Servers by their local ids; calls wait until they are done. Needs root.

    Everything lies in `home`, and `close` removes it.
    """

    def __init__(self, home: Home) -> None:
        self.local = Local(home)
        self.cloud = self.local.cloud
        self._lock = threading.Lock()
        with self.cloud.registry():
            local_network.ensure(self.cloud)

    @property
    def namespace(self) -> Path:
        """The network namespace where the servers' users are."""
        return NAMESPACES / self.cloud.name

    def inside(self) -> AbstractContextManager[None]:
        """This thread, and the processes that it starts, are where the servers' users are."""
        return entered(self.namespace)

    def outside(self, argv: Sequence[str]) -> list[str]:
        """A command as run there."""
        return inside(self.cloud.name, argv)

    def add_image(self, key: str, source: Path) -> None:
        """Servers can be made of it from now on: a raw disk, or a folder that is copied."""
        target = self.cloud.raw(key)
        if source.is_dir() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{key}.copy")
            run(["cp", "--archive", "--reflink=auto", str(source), str(draft)])
            draft.rename(target)
        elif not source.is_dir():
            self.local.image(source, key)

    def delete_image(self, key: str) -> None:
        """No server can be made of it any more."""
        target = self.cloud.raw(key)
        if target.exists():
            run(["rm", "-r", "--one-file-system", str(target)])

    def create(
        self,
        name: str,
        image: str,
        user_data: str,
        *,
        keys: Sequence[str] = (),
        further: Sequence[str] = (),
        metadata: str = "",
        disk: int = 8 << 30,
    ) -> str:
        """A server that is switched on; its id. `keys` may log in as root, where the image runs
        cloud-init's own modules; `further` are addresses (with their prefix) beside its own."""
        with self._lock:
            taken = {one.name for one in records(self.cloud)}
            free = next(
                n for n in [name, *(f"{name}-{i}" for i in range(2, 999))] if n not in taken
            )
            order = Order(free, image, with_keys(user_data, keys), {}, disk)
            return create_server(self.cloud, order, further=tuple(further), metadata=metadata).id

    def status(self, server: str) -> Status:
        """Whether it is on."""
        return local_power.status(self.cloud, server)

    def address(self, server: str) -> Address:
        """Where it is found."""
        return record(self.cloud, server).address

    def route6(self, network: str, server: str) -> None:
        """Lead an IPv6 network to a server that has an address of it."""
        words = ["route", "replace", network, "via", self.address(server).v6]
        run(["ip", "-netns", self.cloud.name, *words])

    def power_on(self, server: str) -> None:
        """Boot it, unless it runs."""
        self.local.power_on(server)

    def power_off(self, server: str) -> None:
        """Pull the plug."""
        self.local.power_off(server)

    def reset(self, server: str) -> None:
        """Pull the plug, and put it in again."""
        self.power_off(server)
        self.power_on(server)

    def rescue(self, server: str, image: str, keys: Sequence[str]) -> None:
        """Boot it from another image, at its own address, with a new empty disk behind `RESCUED`:
        what it had on its own is gone."""
        self.power_off(server)
        disk = f"disk-{server}"
        self.create_volume(disk, RESCUED_SIZE)
        device = self.local.attach(disk, server)
        with self.cloud.registry():
            found = record(self.cloud, server)
            link = f"bootcmd: [[ln, -sfn, {device}, {RESCUED}]]\n"
            keep(self.cloud, replace(found, image=image, user_data=with_keys("", keys) + link))
        own = self.cloud.folder(server) / DISK
        own.unlink()
        make_disk(own, RESCUED_SIZE)
        self.power_on(server)

    def shutdown(self, server: str) -> None:
        """Ask it to go down, without waiting; nothing happens when it is off."""
        self._tell(server, POWEROFF)

    def reboot(self, server: str) -> None:
        """Ask it to boot again, without waiting."""
        self._tell(server, REBOOT)

    def await_off(self, server: str) -> bool:
        """Wait for a server that goes down; False when it did not."""
        deadline = time.monotonic() + PATIENCE
        while self.status(server) != "off":
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def delete(self, server: str) -> None:
        """The server and its disk are gone."""
        self.local.delete_server(server)
        self.local.delete_volume(f"disk-{server}")

    def snapshot(self, server: str, key: str) -> int:
        """Its whole file system as an image, from its disk when it is off, or the disk that it had
        in the rescue system; bytes that it takes."""
        rescued = self.cloud.volumes / f"disk-{server}" / DISK
        if rescued.exists():
            run(["cp", "--sparse=always", str(rescued), str(self.cloud.raw(key))])
        else:
            with self._files(server) as tree:
                self.add_image(key, tree)
        used = run(["du", "--summarize", "--block-size=1", str(self.cloud.raw(key))]).stdout
        return int(used.split()[0])

    def floating(self, name: str) -> tuple[str, str]:
        """A floating address pair of the network, made when there is none: IPv4 and IPv6."""
        found = self.local.create_floating_ip(name)
        return found.v4, found.v6

    def assign(self, name: str, server: str) -> None:
        """Lead it to a server; "": to none."""
        self.local.assign(name, server)

    def create_volume(self, name: str, size: int) -> None:
        """A volume of `size` bytes with an ext4 file system."""
        self.local.create_volume(name, size, {})

    def attach(self, name: str, server: str) -> str:
        """Give the volume to a server; the device there."""
        return self.local.attach(name, server)

    def detach(self, name: str) -> None:
        """Take the volume away."""
        self.local.detach(name)

    def delete_volume(self, name: str) -> None:
        """The volume and its data are gone."""
        self.local.delete_volume(name)

    def close(self) -> None:
        """Nothing of it is left."""
        collect(local_garbage.all_of(self.cloud), lambda _: None)

    @contextmanager
    def _files(self, server: str) -> Iterator[Path]:
        """Its files as one tree, to read."""
        folder = self.cloud.folder(server)
        if self.status(server) != "off":
            for pid in (
                (group_path(self.cloud.group(server)) / "outer/cgroup.procs").read_text().split()
            ):
                seen = Path(f"/proc/{pid}/root{folder / ROOT}")
                if (seen / "etc").is_dir():
                    yield seen
                    return
        at = folder.parent.parent / "reading" / server
        with ExitStack() as stack:
            image = stack.enter_context(
                mounted(self.cloud.raw(record(self.cloud, server).image), at / "image")
            )
            disk = stack.enter_context(disk_mounted(folder / DISK, at / "disk"))
            (at / "tree").mkdir(parents=True, exist_ok=True)
            yield stack.enter_context(merged([image, disk / "upper"], at / "tree"))

    def _tell(self, server: str, order: int) -> None:
        """Send a signal to the server's first process, which one that boots has in a moment."""
        group = group_path(self.cloud.group(server))
        deadline = time.monotonic() + PATIENCE
        while self.status(server) != "off":
            for pid in _processes(group):
                if _is_first(pid):
                    os.kill(pid, order)
                    return
            if time.monotonic() > deadline:
                raise BakehouseError(f"{server} has no first process")
            time.sleep(0.05)


def with_keys(user_data: str, keys: Sequence[str]) -> str:
    """User data to which the vendor adds keys of root, as cloud-init merges it (its documentation,
    "MIME multi-part archive")."""
    if not keys:
        return user_data
    ours = "#cloud-config\ndisable_root: false\nusers: [{name: root, ssh_authorized_keys: ["
    ours += ", ".join(f'"{key.strip()}"' for key in keys) + "]}]\n"
    if not user_data:
        return ours
    kind = "cloud-config" if user_data.startswith("#cloud-config") else "x-shellscript"
    both = MIMEMultipart()
    both.attach(MIMEText(ours, "cloud-config"))
    both.attach(MIMEText(user_data, kind))
    return both.as_string()


def _processes(group: Path) -> Iterator[int]:
    for file in sorted(group.glob("boot*/**/cgroup.procs")):
        try:
            yield from map(int, file.read_text(encoding="ascii").split())
        except OSError:
            continue


def _is_first(pid: int) -> bool:
    """Whether a process of a boot is the container's first: 1 in its innermost namespace."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    numbers = next(line.split()[1:] for line in status.splitlines() if line[:6] == "NSpid:")
    return len(numbers) > 1 and numbers[-1] == "1"
