"""What this machine has and lacks for each kind of work."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.archive import APT_HELPER
from images.build import ROOM
from images.home import Home

TOOLS: Final = {
    "mmdebstrap": ("mmdebstrap", "bakes package layers"),
    "apt-get": ("apt", "reads the archives"),
    APT_HELPER: ("apt", "fetches packages"),
    "systemd-nspawn": ("systemd-container", "runs cloud-init, boots machines"),
    "unshare": ("util-linux", "keeps a bake's mounts to itself"),
    "losetup": ("mount", "gives images and volumes to machines"),
    "mkfs.ext4": ("e2fsprogs", "makes disks of local servers"),
    "ip": ("iproute2", "networks for machines"),
    "nft": ("nftables", "networks for machines"),
    "ssh": ("openssh-client", "asks booted machines"),
    "qemu-system-x86_64": ("qemu-system-x86", "boots real disks"),
    "/usr/share/OVMF/OVMF_CODE_4M.fd": ("ovmf", "boots real disks by UEFI"),
    "skopeo": ("skopeo", "fetches container images from registries"),
    "/usr/share/keyrings/debian-archive-keyring.gpg": (
        "debian-archive-keyring",
        "checks Debian's signatures",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `hint` says what to do when it is not `good`."""

    good: bool
    what: str
    hint: str = ""


def examine(home: Home) -> tuple[Finding, ...]:
    """Everything that baking and proving need of this machine."""
    found = [
        Finding(sys.platform == "linux", "Linux", "ovens and machines need Linux"),
        Finding(os.geteuid() == 0, "root", "only baking and booting need it: use sudo"),
        *(_tool(tool, package, use) for tool, (package, use) in TOOLS.items()),
        _packer(),
        _overlay(),
        _room(home),
    ]
    return tuple(found)


def _tool(tool: str, package: str, use: str) -> Finding:
    there = Path(tool).exists() if tool.startswith("/") else shutil.which(tool) is not None
    return Finding(there, f"{tool} ({use})", f"apt-get install --no-install-recommends {package}")


def _packer() -> Finding:
    """Nothing lacks without it: bakes on this machine do not use it."""
    there = shutil.which("packer") is not None
    more = "" if there else "; not here: apt-get install --no-install-recommends packer"
    return Finding(True, f"packer (only for build-image --provider){more}")


def _overlay() -> Finding:
    known = Path("/proc/filesystems").read_text(encoding="utf-8").split()
    return Finding("overlay" in known, "overlay file system", "modprobe overlay")


def _room(home: Home) -> Finding:
    there = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    return Finding(
        free >= ROOM,
        f"{free / 1e9:.0f} GB free in {there}",
        f"a first bake takes {ROOM / 1e9:.0f} GB: set BAKEHOUSE_HOME to a larger disk",
    )
