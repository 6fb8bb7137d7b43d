"""Sealing: takes out of a tree what must not be in an image, and fixes what differs between bakes.

No host keys, no machine id, no logs, caches or cloud-init state, no keys or clusters that packages
made; times clamped to the lock's clock.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

EMPTIED: Final = (
    "var/cache/apt",
    "var/cache/ldconfig",
    "var/cache/man",
    "var/lib/apt/lists",
    "var/lib/cloud",
    "var/lib/systemd/random-seed",
    "var/log",
    "var/tmp",
    "root/.cache",
    "run",
    "tmp",
)
"""Folders that keep themselves and nothing in them but folders; files that are removed."""

REMOVED: Final = (
    "etc/apt/sources.list.d/*",
    "etc/cloud/cloud.cfg.d/99-bake.cfg",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "etc/ssh/ssh_host_*",
    "etc/ssl/certs/ssl-cert-snakeoil.pem",
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "root/.bash_history",
    "root/.ssh",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/postgresql/*",
    "var/lib/systemd/credential.secret",
)


def tidy(root: Path, epoch: int) -> None:
    """Take out of a tree what must not be in an image; after every layer, not only the last.

    What a later layer removes stays readable in the free blocks of the disk, and a random number
    there is as different from bake to bake as anywhere. `epoch` is the lock's clock, in seconds
    since 1970.
    """
    for name in EMPTIED:
        path = root / name
        if path.is_file():
            path.unlink()
        else:
            _empty(path)
    for pattern in REMOVED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name in ("etc/apt/sources.list", "etc/machine-id"):
        if (root / name).exists() and (root / name).stat().st_size:
            (root / name).write_text("", encoding="utf-8")
    if (root / "etc/shadow").exists():
        _fix_shadow(root / "etc/shadow", epoch)


def seal(root: Path, epoch: int) -> None:
    """Make a baked tree fit to be an image: tidy, and without what only installing needs."""
    tidy(root, epoch)
    _empty(root / "var/cache/debconf")
    for name in ("etc/apt/sources.list", "etc/machine-id"):
        (root / name).touch()


def clamp_times(root: Path, epoch: int) -> None:
    """Set every modification time in `root` that is later than `epoch` back to it."""
    limit = epoch * 10**9
    for folder, folders, files in os.walk(root, topdown=False):
        for name in (*folders, *files):
            _clamp(os.path.join(folder, name), limit)  # noqa: PTH118  a walk over 40,000 names
    _clamp(str(root), limit)


def _clamp(path: str, limit: int) -> None:
    if os.lstat(path).st_mtime_ns > limit:
        os.utime(path, ns=(limit, limit), follow_symlinks=False)


def _empty(folder: Path) -> None:
    """Remove the files below a folder; its folders stay, with their owners and modes."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            path.unlink()


def _fix_shadow(shadow: Path, epoch: int) -> None:
    """The day of the last password change is the bake's: use the lock's instead."""
    day = str(epoch // 86_400)
    lines = []
    for line in shadow.read_text(encoding="utf-8").splitlines():
        fields = line.split(":")
        if fields[2]:
            fields[2] = min(fields[2], day, key=int)
        lines.append(":".join(fields))
    text = "\n".join(lines) + "\n"
    if text != shadow.read_text(encoding="utf-8"):
        shadow.write_text(text, encoding="utf-8")
