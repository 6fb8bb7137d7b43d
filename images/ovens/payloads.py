"""Lays out the payloads of a recipe: a folder for each, named by its digest, kept for next time."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from cloudinit.facts import image_tag
from images import payload
from images.oci.build import build_app, pack_rootfs
from images.oci.fetch import fetch_image, import_archive
from images.ovens import layers
from images.ovens.job import Job
from images.recipe import source_digest
from specs.model import App
from specs.plan import Payload


def assemble(job: Job) -> dict[str, Path]:
    """Every payload's folder by its sha256, made where it is not there yet."""
    apps = {f"app/{app.name}": app for app in job.recipe.plan.image.apps}
    folders = {}
    for wanted in job.recipe.plan.image.payloads:
        target = job.home.payloads / _key(wanted)
        if not target.exists():
            job.say(wanted.name)
            draft = job.home.work / f"payload-{wanted.sha256[:32]}"
            draft.mkdir(parents=True)
            if wanted.name in apps:
                _app(job, apps[wanted.name], wanted, draft)
            elif wanted.name == "server":
                payload.copy_server(draft)
            else:
                _copy(job.recipe.sources[wanted.sha256], draft)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.sync()  # trusted by its name from now on
            draft.rename(target)
        folders[wanted.sha256] = target
    return folders


def _key(wanted: Payload) -> str:
    """What is built depends on the builder, too."""
    made_by = source_digest("images.oci.build") + source_digest("images.oci.fetch")
    return hashlib.sha256(f"{wanted.name} {wanted.sha256} {made_by}".encode()).hexdigest()[:32]


def _app(job: Job, app: App, wanted: Payload, out: Path) -> None:
    tag = image_tag(job.recipe.plan.image, app)
    source = job.recipe.sources.get(wanted.sha256)
    if app.image:
        fetch_image(app, tag=tag, out=out)
    elif app.build is None:
        assert source is not None
        import_archive(app, archive=source, tag=tag, out=out)
    else:
        packages = None
        locked = job.lock.sets.get(f"app:{app.name}", ())
        if locked:
            rootfs = layers.standing_alone(job, locked)
            cache = job.home.root / "oci-layers" / rootfs.name
            packages = pack_rootfs(rootfs, epoch=job.lock.epoch, cache=cache)
        build_app(app, packages=packages, folder=source, tag=tag, epoch=job.lock.epoch, out=out)


def _copy(source: Path, to: Path) -> None:
    """A file or a folder, with plain modes: whose umask it was made under must not show."""
    if source.is_file():
        shutil.copyfile(source, to / source.name)
    else:
        shutil.copytree(source, to, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for path in to.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
