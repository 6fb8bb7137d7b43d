"""Whether this machine's KVM really runs a guest: /dev/kvm may be there, open, and yet hang.

The answer holds until the machine restarts, so it is kept in /run where we may write there.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from images.run import CommandError, run

Accelerator = Literal["kvm", "tcg"]

KEPT: Final = Path("/run/bakehouse-kvm")
PATIENCE: Final = 4
"""Seconds. The guest takes 0.3 under KVM that works, 0.6 under emulation."""

DONE: Final = 33
"""qemu's exit code once the guest has written 16 to the exit device: twice that, and one."""

GUEST: Final = (
    bytes.fromhex(
        "fa31c08ed88ec08ed0bc0070e4920c02e692fcbf00106631c0b90030f3aac70600100320c7060020"
        "0330bf003066b883000000b9200066890566050000200083c708e2f266b8001000000f22d80f20e0"
        "660d200600000f22e066b9800000c00f32660d000100000f300f0116d07c0f20c06683e0fb660d03"
        "0000800f22c0ea837c0800bf00001000b900000002c1e9034889f8f348abbe00001000bf00001002"
        "b900000001c1e903f348a531c00fa266480f6ec0b010e6f4f4ebfd0f1f4400000000000000000000"
        "00000000009a20000f00c07c"
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)
"""A boot sector, made from `kvm_guest.s`: what kernels do first, and what bad KVM fails at."""


def command(accelerator: Accelerator, disk: Path) -> list[str]:
    """Boot the guest on `disk` to its end."""
    return [
        "qemu-system-x86_64",
        *("-accel", accelerator, "-m", "128", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-drive", f"file={disk},format=raw", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
    ]


def runs(accelerator: Accelerator) -> bool:
    """Whether a guest boots to its end in time with this accelerator."""
    with TemporaryDirectory(prefix="bakehouse-") as folder:
        disk = Path(folder) / "guest"
        disk.write_bytes(GUEST)
        try:
            result = run(command(accelerator, disk), check=False, timeout=PATIENCE)
        except CommandError:
            return False
    return result.code == DONE


@cache
def accelerator() -> Accelerator:
    """The fastest way to run a guest that works here; at most `PATIENCE` seconds, once."""
    if not Path("/dev/kvm").exists():
        return "tcg"
    if KEPT.exists():
        return "kvm" if KEPT.read_text(encoding="ascii").strip() == "kvm" else "tcg"
    found: Accelerator = "kvm" if runs("kvm") else "tcg"
    with suppress(OSError):  # without root nothing that a restart empties is ours: ask again then
        KEPT.write_text(f"{found}\n", encoding="ascii")
    return found
