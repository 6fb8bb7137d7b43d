"""Package layers: trees of installed packages, each made once and named by what it is made from.

A layer's id is the digest of its packages, of the layer it stands on and of this package, so its
boundaries are a function of the plan and never of what happens to be in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from cloudinit.bake import after_packages, before_other_packages, before_packages
from images.mounts import merged, overlay
from images.ovens import chamber, repository
from images.ovens.job import Job
from images.ovens.seal import clamp_times, tidy
from images.run import run
from specs import layout
from specs.lock import STACK, Lock, LockedPackage
from specs.plan import ImagePlan

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


@cache
def _source() -> bytes:
    """Digests of this package's modules: another way to make layers makes other layers."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)


def layer_id(parent: str, packages: Sequence[LockedPackage], scripts: str) -> str:
    """The identity of a layer: 32 hex digits over all that it is made from."""
    made_from = [parent, [package.sha256 for package in packages], scripts, *NO_DOCS]
    return hashlib.sha256(json.dumps(made_from).encode() + _source()).hexdigest()[:32]


def core(job: Job) -> Path:
    """The tree that all others stand on: the essential packages and apt, made by mmdebstrap."""
    packages = job.lock.sets["core"]
    target = job.home.layers / layer_id("", packages, "")
    if target.exists():
        return target
    job.say(f"installing {len(packages)} packages")
    work = job.home.work / f"layer-{target.name}"
    repo = repository.make(job.home, packages, job.lock.release, work / "repo")
    tree = work / "tree"
    run(_mmdebstrap(job.lock, packages, repo, tree), env=_clock(job.lock), on_line=job.say)
    tidy(tree, job.lock.epoch)
    clamp_times(tree, job.lock.epoch)
    return _keep(tree, target, work)


def server(job: Job) -> list[Path]:
    """The image's layers of packages, lowest first. `base` is the same for every server."""
    stack = [core(job)]
    for name, before in _above_core(job.recipe.plan.image, job.lock):
        stack.append(stacked(job, stack, job.lock.sets[name], before=before))
    return stack


def identities(plan: ImagePlan, lock: Lock) -> dict[str, str]:
    """The id of every layer that a bake of this plan needs, by the name of its set; makes none."""
    ids = {"core": layer_id("", lock.sets["core"], "")}
    parent = ids["core"]
    for name, before in _above_core(plan, lock):
        parent = ids[name] = layer_id(parent, lock.sets[name], _script(before))
    for name in sorted(set(lock.sets) - set(STACK)):
        if lock.sets[name]:
            ids[name] = layer_id(ids["core"], lock.sets[name], _script(before_other_packages()))
    return ids


def _above_core(plan: ImagePlan, lock: Lock) -> Iterator[tuple[str, str]]:
    """The sets of an image above `core`, lowest first, and the script before each."""
    before = before_other_packages()
    for name in STACK[1:]:
        if lock.sets[name]:
            yield name, before
        before = before_packages(plan)


def other(job: Job, name: str) -> Path:
    """The layer of the set `name` (`tools`, `app:<name>`), which stands on `core`."""
    return stacked(job, [core(job)], job.lock.sets[name], before=before_other_packages())


@contextmanager
def whole(job: Job, name: str) -> Iterator[Path]:
    """The tree of `other(job, name)` with the core below it, read-only."""
    lowers = [core(job), other(job, name)]
    with (
        tempfile.TemporaryDirectory(dir=job.home.work, prefix="whole-") as folder,
        merged(lowers, Path(folder)) as tree,
    ):
        yield tree


def stacked(
    job: Job, lowers: Sequence[Path], packages: Sequence[LockedPackage], *, before: str
) -> Path:
    """What installing these packages over the trees `lowers` adds: an overlay's upper folder.

    `before` is a shell script to run before the installation (`cloudinit.bake`).
    """
    script = _script(before)
    identity = layer_id(lowers[-1].name, packages, script)
    target = job.home.layers / identity
    if target.exists():
        return target
    job.say(f"installing {len(packages)} packages")
    work = job.home.work / f"layer-{identity}"
    repo = repository.make(job.home, packages, job.lock.release, work / "repo")
    upper = work / "tree"
    with overlay(lowers, upper, work) as tree:
        install = [f"{package.name}={package.version}" for package in packages]
        chamber.enter(
            tree,
            ["sh", "-ec", script, "install", *install],
            binds={f"{layout.BAKE}/repo": repo},
            env=_clock(job.lock),
            on_line=job.say,
        )
        tidy(tree, job.lock.epoch)
    clamp_times(upper, job.lock.epoch)
    return _keep(upper, target, work)


def _script(before: str) -> str:
    return f"{before}\n{_INSTALL}\n{after_packages()}"


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
