"""Lays out the payloads of a recipe: a folder for each, named by its digest, kept for next time."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloudinit.facts import image_tag
from images import payload
from images.oci.build import build_app, pack_rootfs
from images.oci.fetch import fetch_image, import_archive
from images.ovens import layers
from images.ovens.job import Job
from images.source import source_digest
from specs.errors import BakehouseError
from specs.facts import contents, folder_digest
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
                _copy(job.recipe.sources[wanted.sha256], draft, wanted)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.sync()  # trusted by its name from now on
            draft.rename(target)
        folders[wanted.sha256] = target
    return folders


def layer(payloads: Sequence[Payload], folders: Mapping[str, Path], at: Path, epoch: int) -> Path:
    """The payloads where the bake puts them, as the new layer `at` for it to stand on: hard links.

    The bake finds there what it would copy, as old as its source, and leaves it
    (`bake/payload.sh.j2`). So the disk gets it while cloud-init runs. All of it has the time
    `epoch`, as what a bake writes has in the end. `folders` are those of `assemble`, on the same
    file system as `at`.
    """
    for wanted in payloads:
        folder, target = folders[wanted.sha256], at / wanted.target.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.rglob("*")):
            to = target / path.relative_to(folder)
            if path.is_dir() and not path.is_symlink():
                to.mkdir(exist_ok=True)
                continue
            os.utime(path, (epoch, epoch), follow_symlinks=False)
            if not os.path.lexists(to):  # two apps may share parts of their images
                os.link(path, to, follow_symlinks=False)
    for path in (at, *at.rglob("*")):
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    return at


def _key(wanted: Payload) -> str:
    """What is built depends on the builder, too."""
    made_by = source_digest("images.oci.build", "images.oci.fetch")
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
        if app.build.packages:
            made = layers.other(job, f"app:{app.name}")
            with layers.whole(job, f"app:{app.name}") as rootfs:
                cache = job.home.root / "oci-layers" / made.id
                packages = pack_rootfs(rootfs, epoch=job.lock.epoch, cache=cache)
        build_app(app, packages=packages, folder=source, tag=tag, epoch=job.lock.epoch, out=out)


def _copy(source: Path, to: Path, wanted: Payload) -> None:
    """A file, or what of a folder travels, with plain modes: its umask must not show.

    Raises BakehouseError when it changed since the plan read it: the id would lie.
    """
    if source.is_file():
        shutil.copyfile(source, to / source.name)
        (to / source.name).chmod(0o644)
        return
    for name, path in contents(source):
        target = to / name
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_dir():
            target.mkdir()
        else:
            shutil.copyfile(path, target)
            target.chmod(0o755 if path.stat().st_mode & 0o111 else 0o644)
    if folder_digest(to) != wanted.sha256:
        raise BakehouseError(f"{source} changed while it was copied", "run the build again")
