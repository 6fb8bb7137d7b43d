"""A raw disk image booted as a virtual machine, by BIOS or by UEFI, the way a server boots it.

The image stays as it is: writes go to an overlay in the machine's own folder. The machine is
reached by SSH through a port of this host's loopback, and ends with us, also when we are killed.
"""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from images import kvm, ssh
from images.guest import Guest
from images.kvm import Accelerator
from images.machine import Description
from images.run import run, start

Firmware = Literal["bios", "uefi"]

OVMF: Final = Path("/usr/share/OVMF")
LOOPBACK: Final = "127.0.0.1"
SLOWDOWN: Final = 5
"""How much longer than a container's boot an emulated one may take; measured: 60 to 85 s."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine to emulate: `memory` in MiB, `disk` in bytes (never less than the image)."""

    firmware: Firmware = "bios"
    memory: int = 2048
    processors: int = 2
    disk: int = 0
    ssh_port: int = 22


def command(
    hardware: Hardware, folder: Path, accelerator: Accelerator, host_port: int
) -> list[str]:
    """qemu for a machine whose files are `disk.qcow2`, `seed/` and `vars.fd` in `folder`.

    The seed is a read-only disk with the label that cloud-init's NoCloud source looks for.
    """
    forward = f"hostfwd=tcp:{LOOPBACK}:{host_port}-:{hardware.ssh_port}"
    processor = "host" if accelerator == "kvm" else "max"
    firmware = []
    if hardware.firmware == "uefi":
        code = f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"
        firmware = ["-drive", code, "-drive", f"if=pflash,format=raw,unit=1,file={folder}/vars.fd"]
    disk = f"if=none,id=disk,format=qcow2,cache=unsafe,file={folder}/disk.qcow2"
    seed = "if=none,id=seed,format=raw,readonly=on,file.driver=vvfat,file.label=CIDATA"
    return [
        *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
        *("-accel", accelerator, "-cpu", processor, "-smp", str(hardware.processors)),
        *("-m", str(hardware.memory), "-nodefaults", "-display", "none"),
        *("-serial", f"file:{folder}/console.log", "-device", "virtio-rng-pci"),
        *firmware,
        *("-drive", disk, "-device", "virtio-blk-pci,drive=disk,bootindex=0"),
        *("-drive", f"{seed},file.dir={folder}/seed", "-device", "virtio-blk-pci,drive=seed"),
        *("-netdev", f"user,id=net,{forward}", "-device", "virtio-net-pci,netdev=net"),
    ]


def overlay_command(image: Path, target: Path, size: int) -> list[str]:
    """A disk of `size` bytes that starts as `image` and keeps what is written."""
    backing = ["-b", str(image.absolute()), "-F", "raw"]
    return ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(target), str(size)]


@dataclass(slots=True)
class Machine(Guest):
    """A virtual machine, made by `boot`; all it has lies in `folder`.

    Its console is what it wrote to its serial port in this boot.
    """

    kind = "virtual machine"
    limit = 300
    attempt = 60
    pause = 1

    hardware: Hardware
    host_port: int

    @property
    def ssh_address(self) -> tuple[str, int]:
        """Where its SSH is found from this host."""
        return LOOPBACK, self.host_port

    def start(self) -> None:
        """Switch it on, without waiting for anything."""
        argv = command(self.hardware, self.folder, kvm.accelerator(), self.host_port)
        self.process = start(argv, output=self.folder / "qemu.log")

    def stop(self) -> None:
        """Pull the plug. `start` boots it again with what it had written."""
        ssh.close(self.door)
        if self.process is not None:
            self.process.stop(signal.SIGKILL)

    def host_key(self) -> str:
        """From the network, where it cannot be another's: the port is one of our own."""
        scan = ["ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", str(self.host_port), LOOPBACK]
        return run(scan, check=False).stdout.partition(" ")[2]

    def tail(self) -> str:
        """What qemu itself said, and the last lines of the machine's console."""
        said = (self.folder / "qemu.log").read_text(encoding="utf-8", errors="replace")
        return said + super(Machine, self).tail()


def boot(
    image: Path, folder: Path, seed: Mapping[str, str], hardware: Hardware, patience: float
) -> Machine:
    """Switch on a machine with a copy of `image`. `folder` is new and made here.

    `seed` has the texts of `user-data` and `meta-data`, as for cloud-init's NoCloud source.
    The caller calls `stop` in the end. Raises CommandError when qemu or qemu-img is missing.
    """
    (folder / "seed").mkdir(parents=True)
    for name, text in seed.items():
        (folder / "seed" / name).write_text(text, encoding="utf-8")
    size = max(hardware.disk, image.stat().st_size)
    run(overlay_command(image, folder / "disk.qcow2", size))
    if hardware.firmware == "uefi":
        shutil.copy(OVMF / "OVMF_VARS_4M.fd", folder / "vars.fd")
    machine = Machine(folder, ssh.Door(folder / "ssh_config"), patience, hardware, _free_port())
    machine.start()
    return machine


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def booted(folder: Path, what: Description, firmware: Firmware) -> Iterator[Machine]:
    """A virtual machine that answers to SSH; `folder` and the machine are gone in the end.

    Raises BakehouseError when it does not boot or does not let us in.
    """
    folder.mkdir(parents=True)
    machine = None
    try:
        key = ssh.make_key(folder)
        seed = {
            "user-data": what.user_data(key.public),
            "meta-data": f"instance-id: {what.hostname}-1\nlocal-hostname: {what.hostname}\n",
        }
        hardware = Hardware(firmware=firmware, disk=what.size, ssh_port=what.port)
        machine = boot(what.source, folder, seed, hardware, what.patience * SLOWDOWN)
        host, port = machine.ssh_address
        text = ssh.config_text(folder, host, port, what.admin, key)
        machine.ssh_config.write_text(text, encoding="utf-8")
        machine.wait()
        yield machine
    finally:
        if machine is not None:
            machine.stop()
        shutil.rmtree(folder, ignore_errors=True)
