"""GRUB for BIOS and UEFI, and the two files in the root that belong to booting.

Both loaders carry what they need and look for the root file system by its UUID, so there is
nothing to install and nothing to update on a running server. Secure Boot is not supported.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from images.disk.gpt import BIOS_SIZE, BIOS_START, ESP_SIZE, ESP_START, SECTOR, Names
from images.disk.tools import WORK, use
from images.disk.tree import Entry
from specs.errors import BakehouseError

MODULES: Final = (
    "configfile",
    "echo",
    "ext2",
    "halt",
    "linux",
    "ls",
    "minicmd",
    "normal",
    "part_gpt",
    "reboot",
    "search_fs_uuid",
    "serial",
    "terminal",
    "test",
)
BIOS_MODULES: Final = ("biosdisk", *MODULES)
EFI_MODULES: Final = (*MODULES, "efi_gop", "fat")

GRUB_CFG: Final = "boot/grub/grub.cfg"
FSTAB: Final = "etc/fstab"
ADDED: Final = (GRUB_CFG, FSTAB)
"""The files in the root that no layer has."""

KERNEL_SECTOR: Final = 0x5C
DRIVE: Final = 0x64
DRIVE_CHECK: Final = 0x66
BOOT_CODE: Final = 440
BLOCKLIST: Final = struct.Struct("<QHH")
LOAD_SEGMENT: Final = 0x820
LARGEST_CORE: Final = 0x78000 - 0x9000
"""Offsets in GRUB's boot sector, its list of sectors, and where memory ends for it: GRUB's
include/grub/i386/pc/boot.h, include/grub/offsets.h and util/setup.c. The first sector of the core
lies at segment 0x800 and loads the rest behind itself."""


def grub_cfg(root_uuid: str) -> str:
    """The boot menu: one entry, the console on the screen and on the first serial port."""
    return f"""\
set timeout_style=hidden
set timeout=0
if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
fi
menuentry "Debian GNU/Linux" {{
    linux /vmlinuz root=UUID={root_uuid} ro console=tty0 console=ttyS0,115200
    initrd /initrd.img
}}
"""


def fstab(ids: Names) -> str:
    """The mounts of a server: its root; the ESP only when somebody asks for it."""
    return f"""\
UUID={ids.file_system} / ext4 errors=remount-ro 0 1
UUID={ids.volume_uuid} /boot/efi vfat noauto,umask=0077 0 0
"""


def files(ids: Names, epoch: int) -> dict[str, Entry]:
    """What the disk itself adds to the package layers, as a layer, folders included."""

    def file(text: str, mode: int = 0o644) -> Entry:
        content = text.encode()
        return Entry("file", mode, mtime=epoch, size=len(content), content=content)

    folder = Entry("dir", 0o755, mtime=epoch)
    return {
        "boot": folder,
        "boot/efi": folder,
        "boot/grub": folder,
        GRUB_CFG: file(grub_cfg(ids.file_system), 0o600),
        "etc": folder,
        FSTAB: file(fstab(ids)),
    }


def early_config(ids: Names) -> str:
    """What the loaders do before they have a file system: find the root, then read grub.cfg."""
    return f"search.fs_uuid {ids.file_system} root\nset prefix=($root)/boot/grub\n"


def mkimage_command(target: str, output: str, config: str, modules: tuple[str, ...]) -> list[str]:
    """grub-mkimage for one platform."""
    folder = f"/usr/lib/grub/{target}"
    where = ["-d", folder, "-O", target, "-o", output, "-c", config, "-p", "/boot/grub"]
    return ["grub-mkimage", *where, *modules]


def boot_sector(image: bytes, sector: int) -> bytes:
    """GRUB's boot.img, told where the core starts; only the part before the partition table.

    The jump over the work-around for BIOSes that pass a wrong drive becomes two NOPs, as
    grub-bios-setup does for hard disks.
    """
    if len(image) != SECTOR:
        raise BakehouseError(f"boot.img has {len(image)} bytes, not {SECTOR}")
    patched = bytearray(image)
    struct.pack_into("<Q", patched, KERNEL_SECTOR, sector)
    patched[DRIVE] = 0xFF
    patched[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"
    return bytes(patched[:BOOT_CODE])


def core(image: bytes, sector: int) -> bytes:
    """GRUB's core.img in whole sectors, told where its second sector and the rest lie."""
    if not SECTOR < len(image) <= min(LARGEST_CORE, BIOS_SIZE):
        raise BakehouseError(f"core.img has {len(image)} bytes, which cannot be loaded")
    count = -(-len(image) // SECTOR)
    patched = bytearray(image.ljust(count * SECTOR, b"\0"))
    BLOCKLIST.pack_into(patched, SECTOR - BLOCKLIST.size, sector + 1, count - 1, LOAD_SEGMENT)
    BLOCKLIST.pack_into(patched, SECTOR - 2 * BLOCKLIST.size, 0, 0, 0)
    return bytes(patched)


def install(disk: Path, ids: Names, *, tools: Path, epoch: int) -> None:
    """Put both loaders on a partitioned disk. The disk's folder is used for scratch files.

    Raises BakehouseError when a tool fails.
    """
    work = disk.parent
    (work / "early.cfg").write_text(early_config(ids), encoding="ascii")
    esp = f"{WORK}/{disk.name}@@{ESP_START}"
    loader = f"{WORK}/BOOTX64.EFI"
    format_esp = ["mkfs.vfat", "--invariant", "-F", "32", "-s", "1", "-n", "ESP", "-i", ids.volume]
    format_esp += [
        f"--offset={ESP_START // SECTOR}",
        f"{WORK}/{disk.name}",
        str(ESP_SIZE // 1024),
    ]
    for argv in (
        mkimage_command("i386-pc", f"{WORK}/core.img", f"{WORK}/early.cfg", BIOS_MODULES),
        mkimage_command("x86_64-efi", loader, f"{WORK}/early.cfg", EFI_MODULES),
        format_esp,
        ["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"],
        ["mcopy", "-i", esp, loader, "::/EFI/BOOT/BOOTX64.EFI"],
    ):
        use(tools, argv, work=work, epoch=epoch)
    start = BIOS_START // SECTOR
    with disk.open("r+b") as raw:
        raw.write(boot_sector((tools / "usr/lib/grub/i386-pc/boot.img").read_bytes(), start))
        raw.seek(BIOS_START)
        raw.write(core((work / "core.img").read_bytes(), start))
