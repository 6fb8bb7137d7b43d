"""A raw disk image booted as a virtual machine, by BIOS or by UEFI, the way a server boots it.

The image stays as it is: writes go to an overlay in the machine's own folder. The machine stands
in the lab's network as a container does, and ends with us, also when we are killed.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from images import kvm, ssh
from images.guest import Guest
from images.kvm import Accelerator
from images.lab import Lab
from images.machine import Description, seed
from images.network import Address, network_config, tap
from images.run import run, start

Firmware = Literal["bios", "uefi"]

OVMF: Final = Path("/usr/share/OVMF")
POWER: Final = 'while setpriv --pdeathsig KILL "$@"; do :; done'
"""Every restart is a cold one, by a new qemu: OVMF under tcg (2022.11) takes up to 8 minutes for a
warm one, 20 s for a cold one. Ends when qemu fails, or is killed."""

SLOWDOWN: Final = 5
"""How much longer than a container's boot an emulated one may take; measured: 60 to 85 s."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine to emulate: `memory` in MiB, `link` and `mac` of its network card."""

    link: str
    mac: str
    firmware: Firmware = "bios"
    memory: int = 2048
    processors: int = 2


def command(hardware: Hardware, folder: Path, accelerator: Accelerator) -> list[str]:
    """qemu for a machine whose files are `disk.qcow2`, `seed/` and `vars.fd` in `folder`.

    The seed is a read-only disk with the label that cloud-init's NoCloud source looks for. The
    link is a tap that is there already.
    """
    card = f"tap,id=net,ifname={hardware.link},script=no,downscript=no"
    processor = "host" if accelerator == "kvm" else "max"
    firmware = []
    if hardware.firmware == "uefi":
        code = f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"
        firmware = ["-drive", code, "-drive", f"if=pflash,format=raw,unit=1,file={folder}/vars.fd"]
    disk = f"if=none,id=disk,format=qcow2,cache=unsafe,file={folder}/disk.qcow2"
    seed = "if=none,id=seed,format=raw,readonly=on,file.driver=vvfat,file.label=CIDATA"
    return [
        *("setpriv", "--pdeathsig", "KILL", "sh", "-c", POWER, "power"),
        *(
            "qemu-system-x86_64",
            "-no-reboot",
            "-accel",
            accelerator,
            "-cpu",
            processor,
            "-smp",
            str(hardware.processors),
        ),
        *("-m", str(hardware.memory), "-nodefaults", "-display", "none"),
        *("-chardev", f"file,id=console,append=on,path={folder}/console.log"),
        *("-serial", "chardev:console", "-device", "virtio-rng-pci"),
        *firmware,
        *("-drive", disk, "-device", "virtio-blk-pci,drive=disk,bootindex=0"),
        *("-drive", f"{seed},file.dir={folder}/seed", "-device", "virtio-blk-pci,drive=seed"),
        *("-netdev", card, "-device", f"virtio-net-pci,netdev=net,mac={hardware.mac}"),
    ]


def overlay_command(image: Path, target: Path, size: int) -> list[str]:
    """A disk of `size` bytes that starts as `image` and keeps what is written."""
    backing = ["-b", str(image.absolute()), "-F", "raw"]
    return ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(target), str(size)]


@dataclass(slots=True)
class Machine(Guest):
    """A virtual machine, made by `booted`; all it has lies in `folder`.

    Its console is what it wrote to its serial port.
    """

    kind = "virtual machine"
    limit = 300
    attempt = 60
    pause = 1

    lab: Lab
    what: Description
    hardware: Hardware

    @property
    def address(self) -> Address:
        """Where it is found from the client's side."""
        return self.what.address

    def start(self) -> None:
        """Switch it on, without waiting for anything."""
        argv = command(self.hardware, self.folder, kvm.accelerator())
        self.process = start(self.lab.client(argv), output=self.folder / "qemu.log")

    def stop(self) -> None:
        """Pull the plug. `start` boots it again with what it had written."""
        ssh.close(self.door)
        if self.process is not None:
            self.process.stop(signal.SIGKILL)

    def host_key(self) -> str:
        """From the network, where it cannot be another's: the lab has nobody else."""
        port = str(self.what.port)
        scan = ["ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", port, self.address.v4]
        return self.lab.run_client(scan, check=False).stdout.partition(" ")[2]

    def tail(self) -> str:
        """What qemu itself said, and the last lines of the machine's console."""
        said = (self.folder / "qemu.log").read_text(encoding="utf-8", errors="replace")
        return said + super(Machine, self).tail()


@contextmanager
def booted(lab: Lab, what: Description, firmware: Firmware) -> Iterator[Machine]:
    """A virtual machine that answers to SSH; nothing of it is left in the end.

    Raises BakehouseError when it does not boot or does not let us in, CommandError when qemu or
    qemu-img is missing.
    """
    folder = lab.folder / f"{what.number}-{firmware}"
    folder.mkdir()
    key = ssh.make_key(folder)
    network = network_config(what.address, "outside", what.address.mac)
    seed(folder / "seed", what.first_boot(key.public), network)
    size = max(what.size, what.source.stat().st_size)
    run(overlay_command(what.source, folder / "disk.qcow2", size))
    if firmware == "uefi":
        shutil.copy(OVMF / "OVMF_VARS_4M.fd", folder / "vars.fd")
    config = folder / "ssh_config"
    config.write_text(
        ssh.config_text(folder, what.address.v4, what.port, what.admin, key), encoding="utf-8"
    )
    door = ssh.Door(config, tuple(lab.client([])))
    hardware = Hardware(lab.link(str(what.number)), what.address.mac, firmware)
    with tap(lab.name, hardware.link):
        machine = Machine(folder, door, what.patience * SLOWDOWN, lab, what, hardware)
        machine.start()
        try:
            machine.wait()
            yield machine
        finally:
            machine.stop()
