"""Trees of installed packages, each made once and named by what it is made from.

A layer's id is the digest of its packages, of the layer it stands on and of the code that makes
it, so its boundaries are a function of the plan and never of what happens to be in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.archive.cache import cached
from images.home import Home
from images.mounts import overlay
from images.ovens import chamber, repository
from images.ovens.job import Job
from images.ovens.seal import clamp_times, tidy
from images.run import run
from images.source import source_digest
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


INSTALL: Final = """
apt-get -q update
apt-get -qy --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \\
    -o Dpkg::Options::=--force-confold install "$@"
"""
"""Installs the packages that it gets as words, `name=version`, from the source that apt has."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What a set of packages adds to the trees below it: an overlay's upper folder.

    `clock` is the latest time in it, in seconds since 1970: that of the newest package in it and
    below it, so that one layer serves every lock with these packages.
    """

    tree: Path
    clock: int

    @property
    def id(self) -> str:
        """The name of what it is made from."""
        return self.tree.name


def layer_id(parent: str, packages: Sequence[LockedPackage], script: str) -> str:
    """The identity of a layer: 32 hex digits over all that it is made from."""
    source = source_digest("images.ovens.install")
    made_from = [parent, [package.sha256 for package in packages], script, source]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:32]


def core(job: Job) -> Layer:
    """The tree that all others stand on: the essential packages and apt, made by mmdebstrap."""
    packages = job.lock.sets["core"]
    layer = Layer(job.home.layers / layer_id("", packages, ""), newest(job.home, packages))
    if not layer.tree.exists():
        _make(job, layer, [], packages, "")
    return layer


def stacked(
    job: Job, below: Sequence[Layer], packages: Sequence[LockedPackage], script: str
) -> Layer:
    """What installing these packages over the layers `below` adds.

    `script` is what a shell runs in the tree to install the packages that it gets as words.
    """
    clock = max(below[-1].clock, newest(job.home, packages))
    layer = Layer(job.home.layers / layer_id(below[-1].id, packages, script), clock)
    if not layer.tree.exists():
        _make(job, layer, [under.tree for under in below], packages, script)
    return layer


def newest(home: Home, packages: Iterable[LockedPackage]) -> int:
    """When the newest of these packages was built, in seconds since 1970.

    Its archive says so: bytes 24 to 36 are the time of the first member (deb(5), ar(5)).
    """
    times = [0]
    for package in packages:
        with cached(home, package).open("rb") as deb:
            times.append(int(deb.read(36)[24:].strip() or b"0"))
    return max(times)


def _make(
    job: Job, layer: Layer, lowers: Sequence[Path], packages: Sequence[LockedPackage], script: str
) -> None:
    job.say(f"installing {len(packages)} packages")
    work = job.home.work / f"layer-{layer.id}"
    repo = repository.make(job.home, packages, job.lock.release, work / "repo")
    upper, env = work / "tree", {"SOURCE_DATE_EPOCH": str(layer.clock)}
    with overlay(lowers, upper, work) as tree:
        if lowers:
            install = [f"{package.name}={package.version}" for package in packages]
            words, binds = ["sh", "-ec", script, "install", *install], {f"{layout.BAKE}/repo": repo}
            chamber.enter(tree, words, binds=binds, env=env, on_line=job.say)
        else:
            run(_mmdebstrap(job.lock, packages, repo, tree), env=env, on_line=job.say)
        tidy(tree, layer.clock)
    clamp_times(upper, layer.clock)
    layer.tree.parent.mkdir(parents=True, exist_ok=True)
    os.sync()  # a layer is trusted by its name alone, so it must be whole on disk before it has one
    upper.rename(layer.tree)
    shutil.rmtree(work)


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
