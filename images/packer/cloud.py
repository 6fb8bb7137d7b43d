"""`build-image --provider hetzner|digitalocean`: Packer makes a snapshot of a vendor's Debian.

The snapshot is proven as any image: a throwaway booted from it answers the suite. One build of a
spec runs at a time, by a lease at the vendor; what a dead run left is known by its name and deleted
before anything is made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, Protocol, cast

from images import store
from images.built import Built
from images.home import Home, build_lock, clear_work, need_space
from images.locking import lock_of
from images.packer import folder, kept, process
from images.packer.proof import prove
from images.packer.supplies import lay_out
from images.packer.temporary import temporary
from images.progress import Progress
from images.promote.alone import alone
from images.promote.calling import site
from images.providers.base import GENERATION, PROVEN, BaseImage, Provider, Stored
from images.providers.offer import offer
from images.recipe import Recipe, prepare
from specs.errors import BakehouseError
from specs.lock import Lock
from specs.model import Deploy, Spec

ROOM: Final = 2_000_000_000
"""Bytes that a build takes here: the packages, twice."""


class Vendor(Provider, Protocol):
    """A provider at which Packer bakes."""

    def delete_stored(self, handle: str) -> None:
        """This one image is gone, by the vendor's number of it. Gone before: fine."""

    def label_image(self, handle: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of an image."""

    def packer_environment(self) -> dict[str, str]:
        """What Packer's builder reads to reach the same account: the token, the API's address."""


@dataclass(frozen=True, slots=True)
class Side:
    """How Packer speaks with a vendor: its builder, its token, and its variables' names."""

    builder: str
    variable: str
    image: str
    place: str
    type: str


SIDES: Final = {
    "hetzner": Side(
        "hcloud.image",
        "HCLOUD_TOKEN",
        "hcloud_image",
        "hcloud_location",
        "hcloud_server_type",
    ),
    "digitalocean": Side(
        "digitalocean.image",
        "DIGITALOCEAN_TOKEN",
        "digitalocean_image",
        "digitalocean_region",
        "digitalocean_size",
    ),
}


def image_id(spec: Spec, spec_file: Path, home: Home, lock: Lock, provider: str) -> str:
    """The id of the image that `build` would make with this lock now. Asks the vendor for its base,
    and bakes nothing."""
    vendor = site(str(spec_file), home, provider).provider
    base = vendor.base_image(lock.release, lock.architecture)
    return folder.provisioned(prepare(spec, spec_file, lock), base.id).id


def build(
    spec: Spec,
    spec_file: Path,
    home: Home,
    progress: Progress,
    provider: str,
    *,
    after: int = 0,
) -> Built:
    """Make the snapshot of a spec at its vendor, prove it, store it as a generation, whose number
    is larger than `after` and than all that the vendor's snapshots have.

    Nothing is made when there is a proven one of the same id. Raises UnprovenError when it does not
    pass, HeldLeaseError while another machine builds this spec, BakehouseError when anything else
    fails. A snapshot that nobody could prove is deleted by the next build.
    """
    started = time.monotonic()
    where = site(str(spec_file), home, provider)
    vendor = cast(Vendor, where.provider)
    with build_lock(home, f"build-image {spec.name}", progress.note):
        clear_work(home)
        need_space(home.root, ROOM, "a bake by Packer")
        offer(spec.deploy)
        lock = lock_of(spec, spec_file, home, progress)
        base = vendor.base_image(lock.release, lock.architecture)
        recipe = folder.provisioned(prepare(spec, spec_file, lock), base.id)
        built = known(vendor, recipe, home, after)
        if built is not None:
            return built
        with alone(where, "build") as lease:
            vendor.guard(lease.check)
            built = known(vendor, recipe, home, after)  # who held the lease may just have made it
            if built is not None:
                return built
            clean(vendor, recipe, progress)
            snapshot = baked(vendor, recipe, base, home, progress)
            last = max(after, newest_generation(vendor, spec.name))
            image, generation = proven(vendor, snapshot, recipe, home, progress, after=last)
        clear_work(home)
        path = home.images / image.id / "image.raw"
        built = Built(image, generation, path, False, time.monotonic() - started)
    kept.told(home, built, progress)
    return built


def known(vendor: Vendor, recipe: Recipe, home: Home, after: int) -> Built | None:
    """The proven snapshot of this recipe as a generation of this home, whoever made it."""
    snapshot = find(vendor, recipe)
    if snapshot is None:
        return None
    ours = kept.existing(recipe, home, after, disk=False)
    return ours or kept.elsewhere(recipe, home, snapshot, after)


def find(vendor: Vendor, recipe: Recipe) -> Stored | None:
    """The proven snapshot of this recipe."""
    for found in vendor.images(recipe.spec.name):
        if found.id == recipe.id and PROVEN in found.labels:
            return found
    return None


def newest_generation(vendor: Vendor, spec: str) -> int:
    """The largest number that the vendor's snapshots of this spec have, or 0."""
    numbers = (found.labels.get(GENERATION, "") for found in vendor.images(spec))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def clean(vendor: Vendor, recipe: Recipe, progress: Progress) -> None:
    """Delete what dead runs left: temporary servers, snapshots that nobody proved.

    Only for who holds the lease of builds: a living one has such things, too.
    """
    for left in vendor.left_overs(folder.temporary_names(recipe.spec.name)):
        progress.note(f"deleting what an earlier run left: {left.what}")
        left.free()
    for found in vendor.images(recipe.spec.name):
        if found.id == recipe.id and PROVEN not in found.labels:
            progress.note(f"deleting a snapshot that nobody proved: {found.handle}")
            vendor.delete_stored(found.handle)


def baked(
    vendor: Vendor, recipe: Recipe, base: BaseImage, home: Home, progress: Progress
) -> Stored:
    """The new snapshot, labelled, and not proven yet."""
    side = SIDES[vendor.name]
    at = home.work / "packer"
    lay_out(recipe, home, at, progress)
    server = temporary(recipe, at, with_host_key=True)
    wanted = folder.labels(recipe, "provision", base=base.id)
    chosen = {
        side.image: base.name,
        "user_data": server.user_data,
        "verify": server.verify,
        "manifest": str(at / "manifest.json"),
    }
    env = vendor.packer_environment()
    with progress.stage("packer"):
        anywhere(side, recipe.spec.deploy, at, chosen=chosen, env=env, progress=progress)
    handle = made(at / "manifest.json")
    vendor.label_image(handle, wanted)
    return Stored(recipe.id, handle, 0, 0, wanted)


def anywhere(
    side: Side,
    deploy: Deploy,
    at: Path,
    *,
    chosen: Mapping[str, str],
    env: Mapping[str, str],
    progress: Progress,
    template: str = folder.TEMPLATE,
) -> None:
    """Build at the first place that has such a server. Raises the last NoCapacityError when none
    has."""
    tried = []
    for variables in places(side, deploy):
        where = " ".join(variables.values())
        try:
            progress.note(f"baking at {where}")
            process.build(
                at,
                side.builder,
                {**chosen, **variables},
                env=env,
                secrets=[env[side.variable]],
                template=template,
                say=progress.say,
            )
            return
        except process.NoCapacityError as error:
            progress.note(f"no server to be had: {where}")
            tried.append(where)
            last = error
    raise BakehouseError(f"{last.message}\ntried: {', '.join(tried)}", last.hint) from last


def places(side: Side, deploy: Deploy) -> Iterator[dict[str, str]]:
    """Every location with every type, in the spec's order: one type everywhere, then the next.
    Raises UsageError when it names none."""
    wanted = offer(deploy)
    for kind, place in product(wanted.types, wanted.locations):
        yield {side.place: place, side.type: kind}


def made(manifest: Path) -> str:
    """The vendor's number of the snapshot that Packer's manifest tells (`123`, or `fra1:123`)."""
    try:
        told = json.loads(manifest.read_text(encoding="utf-8"))
        last = next(b for b in told["builds"] if b["packer_run_uuid"] == told["last_run_uuid"])
        return str(last["artifact_id"]).rpartition(":")[2]
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise BakehouseError(
            f"Packer told no snapshot in {manifest} ({error})", "run the build again"
        ) from error


def proven(
    vendor: Vendor,
    snapshot: Stored,
    recipe: Recipe,
    home: Home,
    progress: Progress,
    *,
    after: int,
) -> tuple[store.Image, store.Generation]:
    """The snapshot as a generation. One that fails its suite is deleted, and nothing else is."""
    with progress.stage("verify"):
        report = prove(vendor, snapshot, recipe, home, progress)
    if not report.passed:
        try:
            vendor.delete_stored(snapshot.handle)
        except BakehouseError as error:
            progress.note(f"the next build deletes the snapshot {snapshot.handle}: {error.message}")
    image, generation = kept.keep(recipe, home, report, progress, raw=None, after=after)
    more = {GENERATION: str(generation.number), PROVEN: report.date[:10]}
    vendor.label_image(snapshot.handle, {**snapshot.labels, **more})
    return image, generation
