"""What qemu is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from images import kvm, qemu
from images.kvm import Accelerator
from images.qemu import Hardware

CARD = Hardware("tap0", "52:54:00:00:00:01")


def words(hardware: Hardware = CARD, accelerator: Accelerator = "tcg") -> str:
    return " ".join(qemu.command(hardware, Path("/vm"), accelerator))


def test_a_bios_machine_boots_from_the_overlay_and_reads_the_seed() -> None:
    line = words()
    assert "pflash" not in line
    assert "file=/vm/disk.qcow2 -device virtio-blk-pci,drive=disk,bootindex=0" in line
    assert "file.label=CIDATA,file.dir=/vm/seed" in line
    assert "append=on,path=/vm/console.log" in line


def test_a_uefi_machine_writes_its_variables_to_a_copy() -> None:
    line = words(replace(CARD, firmware="uefi"))
    assert "readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd" in line
    assert "unit=1,file=/vm/vars.fd" in line


def test_its_card_is_on_the_tap_with_its_own_address() -> None:
    line = words()
    assert "tap,id=net,ifname=tap0,script=no,downscript=no" in line
    assert "virtio-net-pci,netdev=net,mac=52:54:00:00:00:01" in line


@pytest.mark.parametrize(("accelerator", "cpu"), [("kvm", "host"), ("tcg", "max")])
def test_the_processor_fits_the_accelerator(accelerator: Accelerator, cpu: str) -> None:
    assert f"-accel {accelerator} -cpu {cpu}" in words(CARD, accelerator)


def test_the_machine_ends_with_us() -> None:
    assert words().startswith("setpriv --pdeathsig KILL sh -c while setpriv --pdeathsig KILL ")


def test_a_restart_is_a_cold_one() -> None:
    assert " qemu-system-x86_64 -no-reboot " in words()


def test_the_probe_is_a_boot_sector() -> None:
    assert len(kvm.GUEST) == 512
    assert kvm.GUEST.endswith(b"\x55\xaa")
