"""A throwaway machine: a copy of an image, booted by systemd-nspawn with its own first-boot data.

What runs is the file system inside the raw image, mounted read-only, under an overlay that takes
the writes. The overlay outlives reboots and power cuts of the machine, and goes with it.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from images import ssh
from images.lab import Lab
from images.mounts import overlay
from images.network import Address, network_config
from images.rootfs import mounted
from images.run import Process, Result, run, show, start
from specs.errors import BakehouseError

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
SEED: Final = "var/lib/cloud/seed/nocloud"
HOST_KEY: Final = "etc/ssh/ssh_host_ed25519_key.pub"
PLAIN: Final = {"usr/sbin/dockerd": "var/lib/docker", "usr/bin/containerd": "var/lib/containerd"}
"""Programs and their folders that must not lie on an overlay: Docker stacks its own overlays."""


@dataclass(frozen=True, slots=True)
class Description:
    """What to boot. `source` is a raw image or a tree; sizes are bytes, `patience` seconds.

    `user_data` gets the public key made for this machine and returns its `boot.yaml`; `admin` is
    the account that the key opens, by sudo without password.
    """

    source: Path
    admin: str
    user_data: Callable[[str], str]
    hostname: str = "machine"
    number: int = 1
    port: int = 22
    size: int = 4 << 30
    patience: float = 120

    @property
    def address(self) -> Address:
        """Its addresses in the lab."""
        return Address(self.number)


@dataclass(slots=True)
class Machine:
    """A booted machine, made by `booted`: `folder` is ours, `root` are its own files."""

    lab: Lab
    what: Description
    folder: Path
    root: Path
    door: ssh.Door
    binds: Mapping[str, Path]
    process: Process | None = field(default=None)

    @property
    def name(self) -> str:
        """The container's name."""
        return f"{self.lab.name}-{self.what.number}"

    @property
    def address(self) -> Address:
        """Where it is found from the client's side."""
        return self.what.address

    @property
    def console(self) -> Path:
        """What it wrote to its console, over all boots."""
        return self.folder / "console.log"

    @property
    def ssh_config(self) -> Path:
        """An SSH configuration in which it is called `machine`, usable inside the namespace."""
        return self.door.config

    def run(
        self,
        words: str | Sequence[str],
        *,
        timeout: float = 120,
        check: bool = True,
        stdin: str | None = None,
    ) -> Result:
        """Run a shell line, or words, there as root. Raises CommandError as `run` does."""
        line = words if isinstance(words, str) else show(words)
        there = show(["sudo", "-n", "--", "/bin/sh", "-c", line])
        return run(self.door.command(there), timeout=timeout, check=check, stdin=stdin)

    def client(self, argv: Sequence[str], timeout: float = 60, check: bool = True) -> Result:
        """Run a command on the client's side of the network."""
        return self.lab.run_client(argv, timeout=timeout, check=check)

    def start(self) -> None:
        """Boot it, without waiting for anything."""
        argv = self.lab.contained(
            str(self.what.number), nspawn_command(self.root, self.name, self.binds)
        )
        # After a power cut the kernel takes the interface away in its own time, and nspawn fails.
        self.lab.run_client(
            ["ip", "link", "delete", self.lab.link(str(self.what.number))], check=False
        )
        environment = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self.process = start(argv, output=self.console, env=environment)

    def wait(self) -> None:
        """Wait until SSH lets us in. Raises BakehouseError, with the console's end, when not."""
        deadline = time.monotonic() + self.what.patience
        while not self._reached():
            self._check_alive(deadline)
            time.sleep(0.2)

    def _check_alive(self, deadline: float) -> None:
        """Raises BakehouseError when the machine has ended, or the deadline has passed."""
        if self.process is None or not self.process.alive():
            raise BakehouseError(f"the machine ended while it booted\n{self.tail()}")
        if time.monotonic() > deadline:
            why = f"does not let us in by SSH after {self.what.patience:g} s"
            raise BakehouseError(f"the machine boots, but {why}\n{self.tail()}")

    def _reached(self) -> bool:
        """Take its host key from its own files, which is the verified first contact, and log in."""
        public = self.root / HOST_KEY
        if not public.exists() or not (text := public.read_text(encoding="utf-8")):
            return False
        (self.folder / "known_hosts").write_text(ssh.known_host(text), encoding="utf-8")
        return ssh.attempt(self.door, "true", timeout=30).code == 0

    def settle(self, timeout: float = 120) -> str:
        """Wait until no unit is starting any more; `running`, `degraded` when one failed.

        `starting` when `timeout` seconds were not enough.
        """
        words = (
            f"timeout {timeout:g} systemctl is-system-running --wait || systemctl is-system-running"
        )
        return self.run(words, timeout=timeout + 30, check=False).stdout.splitlines()[-1]

    def reboot(self) -> None:
        """Reboot in order, and wait for SSH."""
        before = self._boot_id()
        ssh.attempt(self.door, "sudo -n systemctl reboot", timeout=30)
        ssh.close(self.door)
        deadline = time.monotonic() + self.what.patience
        while self._boot_id() in ("", before):
            self._check_alive(deadline)
            time.sleep(0.2)

    def _boot_id(self) -> str:
        """What tells one boot from the next; "" while nobody answers."""
        return ssh.attempt(self.door, f"cat {BOOT_ID}", timeout=30).stdout.strip()

    def power_cut(self) -> None:
        """Everything there ends at once; `start` boots it again with what it had written."""
        self.lab.kill(str(self.what.number))
        if self.process is not None:
            self.process.stop(signal.SIGKILL)
        ssh.close(self.door)

    def power_off(self) -> None:
        """Shut down in order."""
        ssh.attempt(self.door, "sudo -n systemctl poweroff", timeout=30)
        ssh.close(self.door)
        deadline = time.monotonic() + self.what.patience
        while self.process is not None and self.process.alive():
            if time.monotonic() > deadline:
                raise BakehouseError(f"the machine does not go down\n{self.tail()}")
            time.sleep(0.1)

    def tail(self) -> str:
        """The last lines of its console."""
        text = self.console.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-30:])


def nspawn_command(root: Path, name: str, binds: Mapping[str, Path]) -> list[str]:
    """Boot a tree as a whole server. The last options are what Docker needs inside."""
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={root}",
        f"--machine={name}",
        "--keep-unit",
        "--register=no",
        "--settings=no",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--network-bridge=bakehouse",
        *(f"--bind={source}:/{inside}" for inside, source in binds.items()),
        "--system-call-filter=add_key keyctl bpf",
        "--capability=all",
        "systemd.mask=systemd-remount-fs.service",  # of the disk in fstab, which a container lacks
    ]


@contextmanager
def booted(lab: Lab, what: Description, *, wait: bool = True) -> Iterator[Machine]:
    """A running machine that answers to SSH; nothing of it is left in the end.

    Raises BakehouseError when it does not boot or does not let us in.
    """
    folder = lab.folder / str(what.number)
    folder.mkdir()
    key = ssh.make_key(folder)
    with ExitStack() as stack:
        image = stack.enter_context(mounted(what.source, folder / "image"))
        memory = stack.enter_context(_memory(folder / "memory", what.size))
        root = stack.enter_context(overlay([image], memory / "upper", memory))
        _seed(root, what, key.public)
        config = folder / "ssh_config"
        config.write_text(
            ssh.config_text(folder, what.address.v4, what.port, what.admin, key), encoding="utf-8"
        )
        door = ssh.Door(config, tuple(lab.client([])))
        machine = Machine(lab, what, folder, root, door, _plain_folders(root, memory))
        stack.callback(machine.power_cut)
        machine.start()
        if wait:
            machine.wait()
        yield machine


@contextmanager
def _memory(at: Path, size: int) -> Iterator[Path]:
    """A file system in memory, no larger than `size` bytes."""
    at.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "bakehouse", str(at)])
    try:
        yield at
    finally:
        run(["umount", str(at)])


def _seed(root: Path, what: Description, public_key: str) -> None:
    """First-boot data where cloud-init's NoCloud source looks for it."""
    seed = root / SEED
    seed.mkdir(parents=True, exist_ok=True)
    texts = {
        "user-data": what.user_data(public_key),
        "meta-data": f"instance-id: {what.hostname}-1\nlocal-hostname: {what.hostname}\n",
        "network-config": network_config(what.address, "host0"),
    }
    for name, text in texts.items():
        (seed / name).write_text(text, encoding="utf-8")


def _plain_folders(root: Path, memory: Path) -> dict[str, Path]:
    """For each program of `PLAIN` in the image, a copy of its folder outside the overlay."""
    copies = {}
    for program, place in PLAIN.items():
        if (root / program).exists():
            copy = copies[place] = memory / place.replace("/", "-")
            if (root / place).is_dir():
                shutil.copytree(root / place, copy, symlinks=True)
            else:
                copy.mkdir(mode=0o710)
    return copies
