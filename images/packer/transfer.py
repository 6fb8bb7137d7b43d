"""`build-image --provider … --way transfer`: the disk that was baked and proven here, at a vendor.

The same id, the same bits: Hetzner takes them in its rescue system, DigitalOcean fetches a custom
image from `deploy.image_url`. What arrived is booted as a throwaway and asked before it counts.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

from images import build as baking
from images import store
from images.built import Built
from images.home import Home, build_lock, clear_work
from images.locking import lock_of
from images.packer import cloud, folder, kept, stream
from images.packer.proof import prove
from images.progress import Progress
from images.promote.alone import alone
from images.promote.calling import site
from images.providers.base import GENERATION, PROVEN, Stored
from images.providers.offer import offer
from images.recipe import Recipe, prepare
from images.verify import Kind
from specs.errors import BakehouseError, UsageError
from specs.model import Spec

TEMPLATE: Final = folder.STATIC / "transfer.pkr.hcl"
BUILDER: Final = "hcloud.transfer"
FIRMWARE: Final[Kind] = "bios"
"""What both vendors' servers boot by."""


def transfer(spec: Spec, spec_file: Path, home: Home, progress: Progress, provider: str) -> Built:
    """Bake the image here unless it is, prove it by the firmware of the vendor's servers unless it
    was, and bring it there unless a proven one of it is there. Needs root.

    Raises UnprovenError when it does not pass here or there, BakehouseError when anything else
    fails. What nobody could prove there is deleted by the next build.
    """
    started = time.monotonic()
    where = site(str(spec_file), home, provider)
    vendor = cast(cloud.Vendor, where.provider)
    offer(spec.deploy)
    if provider == "digitalocean" and not spec.deploy.image_url:
        raise UsageError(
            "DigitalOcean takes disks by a URL alone, and the spec names none",
            "put the raw image where the vendor can fetch it, and say so in deploy.image_url",
        )
    recipe = prepare(spec, spec_file, lock_of(spec, spec_file, home, progress))
    there = cloud.find(vendor, recipe)
    if there is not None and (ours := kept.existing(recipe, home)):
        return ours
    last = 0 if there else cloud.newest_generation(vendor, spec.name)
    built = baking.build(spec, spec_file, home, progress, after=last)
    prove_here(built.image, home, progress)
    with (
        build_lock(home, f"build-image {spec.name}", progress.note),
        alone(where, "build") as lease,
    ):
        vendor.guard(lease.check)
        clear_work(home)
        if cloud.find(vendor, recipe) is None:
            cloud.clean(vendor, recipe, progress)
            with progress.stage("transfer"):
                snapshot = sent(vendor, recipe, built.path, home, progress)
            prove_there(vendor, snapshot, recipe, home, progress, number=built.generation.number)
        clear_work(home)
    built = replace(built, cached=False, seconds=time.monotonic() - started)
    kept.told(home, built, progress)
    return built


def prove_here(image: store.Image, home: Home, progress: Progress) -> None:
    """Raises UnprovenError when the image does not boot and pass as the vendor will boot it."""
    if (home.images / image.id / f"report-{FIRMWARE}.json").exists():
        return  # only a passing report is kept
    report = baking.prove(image, home, FIRMWARE, progress)
    if not report.passed:
        raise baking.UnprovenError(
            f"{image.id} does not pass when it boots by {FIRMWARE.upper()}\n{report.summary()}",
            "nothing was sent",
        )


def sent(vendor: cloud.Vendor, recipe: Recipe, raw: Path, home: Home, progress: Progress) -> Stored:
    """The image at the vendor, labelled, and not proven yet."""
    labels = folder.labels(recipe, "transfer")
    if vendor.name == "hetzner":
        handle = streamed(vendor, recipe, raw, home, progress)
    else:
        handle = vendor.image(raw, recipe.id)
    vendor.label_image(handle, labels)
    return Stored(recipe.id, handle, 0, 0, labels)


def streamed(
    vendor: cloud.Vendor, recipe: Recipe, raw: Path, home: Home, progress: Progress
) -> str:
    """The handle of a snapshot of a temporary server, onto whose disk the image was streamed."""
    side = cloud.SIDES[vendor.name]
    at = home.work / "packer"
    at.mkdir()
    (at / TEMPLATE.name).write_bytes(TEMPLATE.read_bytes())
    known = {
        "image": recipe.id,
        "labels": folder.labels(recipe, "transfer"),
        "server": f"{folder.SERVER_PREFIX}{recipe.spec.name}",
        "send": stream.prepare(at / "send", raw),
        "manifest": str(at / "manifest.json"),
    }
    (at / folder.VARIABLES).write_text(json.dumps(known), encoding="utf-8")
    system = recipe.spec.system
    cloud.anywhere(
        replace(side, builder=BUILDER),
        recipe.spec.deploy,
        at,
        chosen={side.image: vendor.base_image(system.release, system.architecture).name},
        env=vendor.packer_environment(),
        progress=progress,
        template=TEMPLATE.name,
    )
    return cloud.made(at / "manifest.json")


def prove_there(
    vendor: cloud.Vendor,
    snapshot: Stored,
    recipe: Recipe,
    home: Home,
    progress: Progress,
    *,
    number: int,
) -> None:
    """Boot it there, and label it as proven and as generation `number`. Raises UnprovenError when
    it does not pass; it is deleted then."""
    with progress.stage("verify"):
        report = prove(vendor, snapshot, recipe, home, progress, vendor_base=False)
    if not report.passed:
        try:
            vendor.delete_stored(snapshot.handle)
        except BakehouseError as error:
            progress.note(f"the next build deletes the snapshot {snapshot.handle}: {error.message}")
        raise baking.UnprovenError(
            f"{recipe.id} did not pass at {vendor.name}\n{report.summary()}",
            "the image here is as it was",
        )
    more = {GENERATION: str(number), PROVEN: report.date[:10]}
    vendor.label_image(snapshot.handle, {**snapshot.labels, **more})
