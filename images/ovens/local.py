"""The local oven: package layers from the cache, the real cloud-init over them, sealed and packed.

Needs Linux and root, no cloud and, once the locked packages are in the cache, no network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cloudinit import validate
from cloudinit.boot import boot
from images import archive, disk, schema
from images.home import Home
from images.mounts import overlay
from images.ovens import cloud_init, install, layers, manifest, payloads, repository
from images.ovens.job import Job
from images.ovens.seal import clamp_times, seal
from images.progress import Progress
from images.recipe import Recipe
from images.server.drift import Facts, entries
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
        made = layers.made(job)
        archive.fetch(recipe.spec.system, lock, home, job.say, made)
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
            wanted, at = recipe.plan.image.payloads, home.work / "payloads"
            supplied = payloads.layer(wanted, folders, at, lock.epoch)
            lowers = [*(layer.tree for layer in stack.values()), supplied]
            running = pool.submit(_run_cloud_init, job, lowers, packages, folders)
            drawing = pool.submit(_begin, job, base, lowers)
            others = set(lock.sets) - made
            checking = pool.submit(archive.fetch, recipe.spec.system, lock, home, job.say, others)
            _check_documents(job, lowers)
            upper = running.result()
            checking.result()
        with progress.stage("disk"):
            draft, below = drawing.result()
            manifest.record(upper, draft.known, below, lock.epoch)
            packed = disk.pack(draft, upper, out, epoch=lock.epoch)
    return Baked(packed, tuple(layer.id for layer in stack.values()))


def _check_documents(job: Job, lowers: Sequence[Path]) -> None:
    """Hold both documents against the schema of the cloud-init that reads them."""
    release = schema.find_schema(lowers)
    validate.check(job.recipe.bake, release, "bake.yaml")
    validate.check(boot(job.recipe.plan.server), release, "boot.yaml")


def _begin(
    job: Job, base: disk.Base, lowers: Sequence[Path]
) -> tuple[disk.Draft, dict[str, Facts]]:
    """The copy of the base disk with the payloads, the last of `lowers`; the facts of all these."""
    cache, folder = job.home.bases, job.home.work / "disk"
    known = disk.content(base, cache)
    *packages, supplied = lowers
    facts = manifest.facts(known, packages)
    draft = disk.begin(base, known, supplied, folder, epoch=job.lock.epoch, cache=cache)
    return draft, facts | dict(entries(supplied, job.lock.epoch))


def _run_cloud_init(
    job: Job, lowers: Sequence[Path], packages: Path, folders: Mapping[str, Path]
) -> Path:
    """What `bake.yaml` makes of the layers, sealed: an overlay's upper folder."""
    scratch = job.home.work / "bake"
    upper = scratch / "upper"
    binds = {f"{layout.BAKE}/repo": packages}
    binds |= {f"{layout.BAKE}/payload/{sha256}": at for sha256, at in folders.items()}
    with overlay(lowers, upper, scratch) as merged:
        cloud_init.run_bake(merged, job.recipe.bake, binds=binds, epoch=job.lock.epoch, say=job.say)
        seal(merged, job.lock.epoch)
    clamp_times(upper, job.lock.epoch)
    return upper
