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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images import ssh
from images.guest import Guest
from images.lab import Lab
from images.mounts import overlay
from images.network import Address, network_config
from images.rootfs import mounted
from images.run import Result, run, start
from specs.errors import BakehouseError

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
SEED: Final = "var/lib/cloud/seed/nocloud"
HOST_KEY: Final = "etc/ssh/ssh_host_ed25519_key.pub"
PLAIN: Final = {"usr/sbin/dockerd": "var/lib/docker", "usr/bin/containerd": "var/lib/containerd"}
"""Programs and their folders that must not lie on an overlay: Docker stacks its own overlays."""


@dataclass(frozen=True, slots=True)
class FirstBoot:
    """What a machine is told when it boots; another `instance` makes it a first boot again."""

    user_data: str
    hostname: str
    instance: str
    metadata: str = ""
    """More of what a cloud tells of the machine, as lines of YAML."""


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

    def first_boot(self, public_key: str) -> FirstBoot:
        """What it is told, with the key that opens it."""
        return FirstBoot(self.user_data(public_key), self.hostname, f"{self.hostname}-1")


@dataclass(slots=True)
class Machine(Guest):
    """A booted machine, made by `booted`: `folder` is ours, `root` are its own files.

    Its console is kept over all boots; its SSH configuration works inside the lab's namespace.
    """

    kind = "machine"
    limit = 120
    attempt = 30
    pause = 0.2

    lab: Lab
    what: Description
    root: Path
    binds: Mapping[str, Path]

    @property
    def name(self) -> str:
        """The container's name."""
        return f"{self.lab.name}-{self.what.number}"

    @property
    def address(self) -> Address:
        """Where it is found from the client's side."""
        return self.what.address

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

    def host_key(self) -> str:
        """From its own files, which makes the first contact a verified one."""
        public = self.root / HOST_KEY
        return public.read_text(encoding="utf-8") if public.exists() else ""

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
        deadline = time.monotonic() + self.patience
        while self._boot_id() in ("", before):
            self.check_alive(deadline)
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
        deadline = time.monotonic() + self.patience
        while self.alive():
            if time.monotonic() > deadline:
                raise BakehouseError(f"the machine does not go down\n{self.tail()}")
            time.sleep(0.1)


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
        seed(root / SEED, what.first_boot(key.public), network_config(what.address, "host0"))
        config = folder / "ssh_config"
        config.write_text(
            ssh.config_text(folder, what.address.v4, what.port, what.admin, key), encoding="utf-8"
        )
        door = ssh.Door(config, tuple(lab.client([])))
        binds = plain_folders(root, memory)
        machine = Machine(folder, door, what.patience, lab, what, root, binds)
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


def seed(folder: Path, first_boot: FirstBoot, network: str) -> None:
    """Write first-boot data as cloud-init's NoCloud source reads it; `network` is version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    hostname = first_boot.hostname
    texts = {
        "user-data": first_boot.user_data,
        "meta-data": f"instance-id: {first_boot.instance}\nlocal-hostname: {hostname}\n"
        + first_boot.metadata,
        "network-config": network,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def plain_folders(root: Path, disk: Path) -> dict[str, Path]:
    """For each program of `PLAIN` in the image, a copy of its folder outside the overlay.

    A copy that `disk` has already is kept.
    """
    copies = {}
    for program, place in PLAIN.items():
        if (root / program).exists():
            copy = copies[place] = disk / place.replace("/", "-")
            if not copy.exists():
                _copy_folder(root / place, copy)
    return copies


def _copy_folder(source: Path, copy: Path) -> None:
    """Whole or not at all; empty where there is no such folder."""
    draft = copy.with_name(f"{copy.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, draft, symlinks=True)
    else:
        draft.mkdir(mode=0o710)
    draft.rename(copy)
