"""What qemu is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import kvm, qemu
from images.kvm import Accelerator
from images.qemu import Hardware


def words(hardware: Hardware, accelerator: Accelerator = "tcg") -> str:
    return " ".join(qemu.command(hardware, Path("/vm"), accelerator, 2222))


def test_a_bios_machine_boots_from_the_overlay_and_reads_the_seed() -> None:
    line = words(Hardware())
    assert "pflash" not in line
    assert "file=/vm/disk.qcow2 -device virtio-blk-pci,drive=disk,bootindex=0" in line
    assert "file.label=CIDATA,file.dir=/vm/seed" in line
    assert "file:/vm/console.log" in line


def test_a_uefi_machine_writes_its_variables_to_a_copy() -> None:
    line = words(Hardware(firmware="uefi"))
    assert "readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd" in line
    assert "unit=1,file=/vm/vars.fd" in line


def test_ssh_is_forwarded_from_the_loopback_only() -> None:
    assert "hostfwd=tcp:127.0.0.1:2222-:2200" in words(Hardware(ssh_port=2200))


@pytest.mark.parametrize(("accelerator", "cpu"), [("kvm", "host"), ("tcg", "max")])
def test_the_processor_fits_the_accelerator(accelerator: Accelerator, cpu: str) -> None:
    assert f"-accel {accelerator} -cpu {cpu}" in words(Hardware(), accelerator)


def test_the_machine_ends_with_us() -> None:
    assert words(Hardware()).startswith("setpriv --pdeathsig KILL qemu-system-x86_64")


def test_the_probe_is_a_boot_sector() -> None:
    assert len(kvm.GUEST) == 512
    assert kvm.GUEST.endswith(b"\x55\xaa")
