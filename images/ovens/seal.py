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
    "var/cache/debconf",
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

TIDIED: Final = (
    "var/cache/apt",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "var/log",
    "run",
    "tmp",
)

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


def tidy(root: Path) -> None:
    """Empty what installing packages leaves in a tree: lists, caches, logs."""
    for name in TIDIED:
        _empty(root / name)
    for pattern in ("var/lib/dpkg/*-old", "etc/*-"):
        for path in root.glob(pattern):
            path.unlink()


def seal(root: Path, epoch: int) -> None:
    """Make a baked tree fit to be an image; `epoch` is seconds since 1970 of the lock's clock."""
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
    (root / "etc/apt/sources.list").write_text("", encoding="utf-8")
    (root / "etc/machine-id").write_text("", encoding="utf-8")
    _fix_shadow(root / "etc/shadow", epoch)


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
    shadow.write_text("\n".join(lines) + "\n", encoding="utf-8")
