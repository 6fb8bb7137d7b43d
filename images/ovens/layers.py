"""Package layers: trees of installed packages, each made once and named by what it is made from.

A layer's id is the digest of its packages, of the layer it stands on and of this module, so its
boundaries are a function of the plan and never of what happens to be in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from images.mounts import overlay
from images.ovens import chamber, repository
from images.ovens.job import Job
from images.ovens.seal import clamp_times, tidy
from images.run import run
from specs import layout
from specs.lock import Lock, LockedPackage

NO_DOCS: Final = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/lintian/*",
)
"""Left out of every image, as Debian's slim container images do; licences stay."""


def layer_id(parent: str, packages: Sequence[LockedPackage], scripts: str) -> str:
    """The identity of a layer: 32 hex digits over all that it is made from."""
    source = Path(__file__).read_bytes()
    made_from = [parent, [package.sha256 for package in packages], scripts, *NO_DOCS]
    return hashlib.sha256(json.dumps(made_from).encode() + source).hexdigest()[:32]


def standing_alone(job: Job, packages: Sequence[LockedPackage]) -> Path:
    """A tree with these packages and nothing below it, made by mmdebstrap unless it is there."""
    identity = layer_id("", packages, "")
    target = job.home.layers / identity
    if target.exists():
        return target
    job.say(f"installing {len(packages)} packages")
    work = job.home.work / f"layer-{identity}"
    repo = repository.make(job.home, packages, job.lock.release, work / "repo")
    tree = work / "tree"
    run(_mmdebstrap(job.lock, packages, repo, tree), env=_clock(job.lock), on_line=job.say)
    tidy(tree)
    clamp_times(tree, job.lock.epoch)
    return _keep(tree, target, work)


def stacked(
    job: Job, lowers: Sequence[Path], packages: Sequence[LockedPackage], *, before: str, after: str
) -> Path:
    """What installing these packages over the trees `lowers` adds: an overlay's upper folder.

    `before` and `after` are shell scripts around the installation (`cloudinit.bake`).
    """
    identity = layer_id(lowers[-1].name, packages, before + after)
    target = job.home.layers / identity
    if target.exists():
        return target
    job.say(f"installing {len(packages)} packages")
    work = job.home.work / f"layer-{identity}"
    repo = repository.make(job.home, packages, job.lock.release, work / "repo")
    upper = work / "tree"
    with overlay(lowers, upper, work) as merged:
        install = [f"{package.name}={package.version}" for package in packages]
        chamber.enter(
            merged,
            ["sh", "-ec", f"{before}\n{_INSTALL}\n{after}", "install", *install],
            binds={f"{layout.BAKE}/repo": repo},
            env=_clock(job.lock),
            on_line=job.say,
        )
        tidy(merged)
    clamp_times(upper, job.lock.epoch)
    return _keep(upper, target, work)


_INSTALL: Final = """
apt-get -q update
apt-get -qy --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \\
    -o Dpkg::Options::=--force-confold install "$@"
"""


def _mmdebstrap(lock: Lock, packages: Sequence[LockedPackage], repo: Path, tree: Path) -> list[str]:
    names = ",".join(package.name for package in packages)
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=essential",
        f"--architectures={lock.architecture}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt={option}" for option in NO_DOCS),
        "--dpkgopt=force-unsafe-io",
        f"--include={names}",
        '--customize-hook=: > "$1/etc/apt/sources.list"',
        lock.release,
        str(tree),
        f"deb [trusted=yes] copy:{repo} ./",
    ]


def _clock(lock: Lock) -> dict[str, str]:
    return {"SOURCE_DATE_EPOCH": str(lock.epoch)}


def _keep(tree: Path, target: Path, work: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.sync()  # a layer is trusted by its name alone, so it must be whole on disk before it has one
    tree.rename(target)
    shutil.rmtree(work)
    return target
