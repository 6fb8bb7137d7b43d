"""What is in an image, as a CycloneDX document, and what it was made from: `sbom.json` and
`provenance.json` beside each stored image.

Both are functions of the recipe and its bits: no random serial, and the time is the lock's.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from images.disk import Disk
from images.recipe import Recipe
from images.source import PROJECT
from specs.lock import STACK, Lock, LockedPackage, dump
from specs.model import App
from specs.plan import ImagePlan

DEBIAN: Final = ("debian", "debian-security")
"""The archives that are Debian's own (`images.archive.sources`)."""


def sbom(recipe: Recipe) -> str:
    """The image's bill of materials: CycloneDX 1.6, JSON.

    Every Debian package of the image and of each container image that is built from packages, the
    other container images by digest. A ValueError when the recipe has no lock.
    """
    plan, lock = recipe.plan.image, _lock(recipe)
    image = Component(
        name=plan.name,
        version=recipe.digest[:12],
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=recipe.id,
    )
    bom = Bom(components=[*_packages(lock.image_packages(), ""), *_containers(plan, lock)])
    bom.register_dependency(image, bom.components)
    bom.metadata.component = image
    bom.metadata.timestamp = datetime.fromtimestamp(lock.epoch, UTC)
    bom.metadata.tools.components.add(
        Component(name="bakehouse", version=tool_version(), type=ComponentType.APPLICATION)
    )
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["serialNumber"]  # random, and optional in CycloneDX 1.6
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def provenance(recipe: Recipe, layers: Sequence[str], disk: Disk) -> str:
    """What the image was made from, by digest, as JSON; `layers` are the ids of its package layers.

    `lock` is the sha256 of the lock's file, `source` that of the code that baked. A ValueError when
    the recipe has no lock.
    """
    lock = _lock(recipe)
    names = [name for name in STACK if name == "core" or lock.sets[name]]
    data = {
        "image": recipe.id,
        "disk": {"digest": disk.digest, "size": disk.size},
        "plan": recipe.digest,
        "lock": hashlib.sha256(dump(lock).encode()).hexdigest(),
        "indexes": {name: index.sha256 for name, index in lock.indexes.items()},
        "layers": [
            {"name": name, "digest": layer} for name, layer in zip(names, layers, strict=True)
        ],
        "payloads": {payload.name: payload.sha256 for payload in recipe.plan.image.payloads},
        "source": recipe.source,
        "tool": {"name": "bakehouse", "version": tool_version()},
        "epoch": lock.epoch,
    }
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


@cache
def tool_version() -> str:
    """Bakehouse's own version."""
    with (PROJECT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def _lock(recipe: Recipe) -> Lock:
    if recipe.plan.image.lock is None:
        raise ValueError("without a lock there is no image")
    return recipe.plan.image.lock


def _packages(packages: Sequence[LockedPackage], inside: str) -> Iterator[Component]:
    """Components of Debian packages; `inside` names the container that has them, or is empty."""
    for package in packages:
        purl = PackageURL(
            type="deb",
            namespace="debian" if package.archive in DEBIAN else package.archive,
            name=package.name,
            version=package.version,
            qualifiers={"arch": package.architecture},
        )
        yield Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            purl=purl,
            bom_ref=f"{inside}{purl}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=package.sha256)],
        )


def _containers(plan: ImagePlan, lock: Lock) -> Iterator[Component]:
    for app in plan.apps:
        if app.build:
            yield _built(plan, app, lock)
        else:
            yield _foreign(app, lock.images[app.name])


def _built(plan: ImagePlan, app: App, lock: Lock) -> Component:
    made_from = plan.payload(f"app/{app.name}").sha256
    packages = lock.app_packages(app.name) if app.build and app.build.packages else ()
    return Component(
        name=app.name,
        version=made_from[:12],
        type=ComponentType.CONTAINER,
        bom_ref=f"app/{app.name}",
        properties=[Property(name="bakehouse:made-from", value=f"sha256:{made_from}")],
        components=_packages(packages, f"app/{app.name}/"),
    )


def _foreign(app: App, digest: str) -> Component:
    """`digest` is the manifest's for an image of a registry, else the archive's own."""
    name = app.image.partition("@")[0]
    purl = None
    if name:
        last = name.rpartition("/")[2]
        purl = PackageURL(
            type="oci",
            name=last.partition(":")[0].lower(),
            version=digest,
            qualifiers={"repository_url": name.removesuffix(last) + last.partition(":")[0]},
        )
    return Component(
        name=name or app.archive,
        version=digest,
        type=ComponentType.CONTAINER,
        purl=purl,
        bom_ref=f"app/{app.name}",
        hashes=[
            HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:")),
        ],
    )
