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
    """`mkosi.conf` for a disk of the packages that our image has, without documentation."""
    packages = "\n".join(f"    {package.name}" for package in lock.image_packages())
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
    """Seconds of a whole build and of one after a changed line, each with warm package caches."""
    (folder / CHANGED).parent.mkdir(parents=True)
    (folder / "mkosi.cache").mkdir()
    (folder / "mkosi.packages").mkdir()
    figures = {}
    for work, incremental in (("whole", False), ("change", True)):
        (folder / "mkosi.conf").write_text(configuration(lock, incremental=incremental))
        note(f"mkosi: {work}")
        seconds = []
        for number in range(runs + 1):  # the first one only warms the caches
            (folder / CHANGED).write_text(f"value = {number}\n")
            started = time.monotonic()
            run(build_command(folder))
            seconds.append(time.monotonic() - started)
        figures[work] = median(seconds[1:])
    return figures
