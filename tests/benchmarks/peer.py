"""The same work by mkosi, when it is on this machine: what our figures are held against.

Options as in mkosi(1), version 25.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from images.run import run
from specs.lock import Lock

CHANGED = "mkosi.extra/etc/bakehouse-bench.conf"


def found() -> bool:
    """Whether mkosi is on PATH."""
    return shutil.which("mkosi") is not None


def configuration(lock: Lock, *, incremental: bool) -> str:
    """`mkosi.conf` for a disk of the packages that our image has, without documentation.

    It boots by UEFI, with systemd's loader; ours by BIOS, too.
    """
    names = ["systemd-boot", *(package.name for package in lock.image_packages())]
    packages = "\n".join(f"    {name}" for name in names)
    return f"""[Distribution]
Distribution=debian
Release={lock.release}

[Output]
Format=disk

[Build]
Incremental={"yes" if incremental else "no"}
CacheDirectory=mkosi.cache
PackageCacheDirectory=mkosi.packages

[Content]
Bootable=yes
WithDocs=no
Packages=
{packages}
"""


def build_command(folder: Path) -> list[str]:
    """Build the image of a folder anew, from whatever caches it may use."""
    return ["mkosi", "--directory", str(folder), "--force", "build"]


def measure(lock: Lock, folder: Path, runs: int, note: Callable[[str], None]) -> dict[str, float]:
    """Seconds of a whole build, of one after a changed line, and of one with nothing changed.

    All with warm package caches; the last two with `Incremental=yes`.
    """
    (folder / CHANGED).parent.mkdir(parents=True)
    (folder / "mkosi.cache").mkdir()
    (folder / "mkosi.packages").mkdir()
    number = 0

    def build(change: bool) -> float:
        nonlocal number
        number += change
        (folder / CHANGED).write_text(f"value = {number}\n")
        started = time.monotonic()
        run(build_command(folder))
        return time.monotonic() - started

    figures = {}
    for work, incremental, change in (
        ("whole", False, True),
        ("change", True, True),
        ("nothing", True, False),
    ):
        (folder / "mkosi.conf").write_text(configuration(lock, incremental=incremental))
        note(f"mkosi: {work}")
        if work != "nothing":
            build(change)  # warms the caches
        figures[work] = median(build(change) for _ in range(runs))
    return figures
