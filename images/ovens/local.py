"""The local oven: package layers from the cache, the real cloud-init over them, sealed and packed.

Needs Linux and root, no cloud and, once the locked packages are in the cache, no network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloudinit import validate
from cloudinit.boot import boot
from images import archive, disk, schema
from images.disk.tree import Tree
from images.home import Home
from images.mounts import overlay
from images.ovens import cloud_init, install, layers, manifest, payloads, repository
from images.ovens.install import Layer
from images.ovens.job import Job
from images.ovens.seal import clamp_times, seal
from images.progress import Progress
from images.recipe import Recipe
from images.server.drift import Facts
from specs import layout
from specs.errors import BakehouseError


@dataclass(frozen=True, slots=True)
class Baked:
    """A raw disk that nobody has proven yet, and the ids of the layers below the bake."""

    disk: disk.Disk
    layers: tuple[str, ...]


def bake(recipe: Recipe, home: Home, out: Path, progress: Progress) -> Baked:
    """Bake a recipe into the raw disk `out`.

    Raises BakehouseError when the plan has no lock, a package cannot be had, or any part of the
    bake reports a failure.
    """
    lock = recipe.plan.image.lock
    if lock is None:
        raise BakehouseError(f"{recipe.spec.name} has no lock", "run `invoke lock` first")
    os.umask(0o022)  # modes in the image must not be the caller's
    job = Job(recipe, lock, home, progress.say)
    with progress.stage("packages"):
        archive.fetch(recipe.spec.system, lock, home, job.say)
    with progress.stage("layers"):
        install.core(job)
        with ThreadPoolExecutor(3) as pool:
            making = pool.submit(layers.other, job, "tools")
            stacking = pool.submit(layers.server, job)
            assembling = pool.submit(payloads.assemble, job)
            stack, folders, tools = stacking.result(), assembling.result(), making.result()
    with layers.whole(job, "tools") as tree, ThreadPoolExecutor() as pool:
        base = layers.base(stack, disk.Tools(tools.id, tree))
        with progress.stage("cloud-init"):
            locked = lock.image_packages()
            packages = repository.make(home, locked, lock.release, home.work / "repo")
            running = pool.submit(_run_cloud_init, job, stack, packages, folders)
            known = pool.submit(disk.content, base, home.bases)
            copying = pool.submit(_begin, job, base, known, folders)
            listing = pool.submit(_lowers, job, stack, known)
            _check_documents(job)
            upper = running.result()
        with progress.stage("disk"):
            manifest.record(upper, known.result(), listing.result(), lock.epoch)
            packed = disk.pack(copying.result(), upper, out, epoch=lock.epoch)
    return Baked(packed, tuple(layer.id for layer in stack.values()))


def _check_documents(job: Job) -> None:
    """Hold both documents against the schema of the cloud-init that will read them."""
    package = next(p for p in job.lock.image_packages() if p.name == "cloud-init")
    deb = archive.cached(job.home, package)
    release = schema.schema_from_deb(deb, job.home.work / "cloud-init")
    validate.check(job.recipe.bake, release, "bake.yaml")
    validate.check(boot(job.recipe.plan.server), release, "boot.yaml")


def _begin(
    job: Job, base: disk.Base, known: Future[Tree], folders: Mapping[str, Path]
) -> disk.Draft:
    """The copy of the base disk, large enough for the payloads: a bake adds little else."""
    files = (file for folder in folders.values() for file in folder.rglob("*"))
    more = sum(file.lstat().st_size for file in files)
    folder = job.home.work / "disk"
    return disk.begin(base, known.result(), folder, more=more, cache=job.home.bases)


def _lowers(job: Job, stack: Mapping[str, Layer], known: Future[Tree]) -> dict[str, Facts]:
    trees = [layer.tree for layer in stack.values()]
    return manifest.lowers(trees, known.result(), job.lock.epoch)


def _run_cloud_init(
    job: Job, stack: Mapping[str, Layer], packages: Path, folders: Mapping[str, Path]
) -> Path:
    """What `bake.yaml` makes of the package layers, sealed: an overlay's upper folder."""
    scratch = job.home.work / "bake"
    upper = scratch / "upper"
    binds = {f"{layout.BAKE}/repo": packages}
    binds |= {f"{layout.BAKE}/payload/{sha256}": at for sha256, at in folders.items()}
    with overlay([layer.tree for layer in stack.values()], upper, scratch) as merged:
        cloud_init.run_bake(merged, job.recipe.bake, binds=binds, epoch=job.lock.epoch, say=job.say)
        seal(merged, job.lock.epoch)
    clamp_times(upper, job.lock.epoch)
    return upper
