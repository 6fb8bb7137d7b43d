"""Renders `packer/`: the static template, this spec's variables, and what the server is given."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from images.home import write_whole
from images.ovens import seal
from images.packer.plugins import required_plugins
from images.recipe import Recipe
from images.source import source_digest
from specs import lock as locks

STATIC: Final = Path(__file__).parent / "folder"
TEMPLATE: Final = "image.pkr.hcl"
VARIABLES: Final = "image.auto.pkrvars.json"
SCRIPTS: Final = ("bake.sh", "seal.sh")
REPO: Final = "repo"
PAYLOAD: Final = "payload"

SERVER_PREFIX: Final = "bakehouse-bake-"
"""Temporary servers are named so; what a dead run left is found by it."""

PROOF: Final = "-proof"
"""Ends the name of the throwaway server of the snapshot."""


def provisioned(recipe: Recipe, base: str) -> Recipe:
    """The recipe of the image that this folder makes of a vendor's image, with an id of its own.

    `base` is that image's id: the same id of ours promises the same packages on the same base.
    """
    files = [STATIC / name for name in (TEMPLATE, *SCRIPTS)]
    static = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    made_by = source_digest("images.packer.folder", "images.ovens.payloads")
    return replace(recipe, source=" ".join((made_by, *static, base)))


def documents(recipe: Recipe) -> dict[str, str]:
    """The files of `packer/` by name, without packages and payloads. Pure but for our own files."""
    static = ("README.md", TEMPLATE, *SCRIPTS)
    return {
        **{name: (STATIC / name).read_text(encoding="utf-8") for name in static},
        "seal.py": Path(seal.__file__).read_text(encoding="utf-8"),
        "plugins.pkr.hcl": required_plugins(),
        VARIABLES: json.dumps(variables(recipe), indent=2) + "\n",
        "bake.yaml": recipe.bake,
    }


def variables(recipe: Recipe) -> dict[str, object]:
    """What the template leaves open for every builder, from the plan alone."""
    image, deploy = recipe.plan.image, recipe.plan.ops.deploy
    lock = image.lock
    found = [p.version for p in lock.image_packages() if p.name == "cloud-init"] if lock else []
    chosen: dict[str, object] = {
        "image": recipe.id,
        "labels": labels(recipe, "provision"),
        "server": f"{SERVER_PREFIX}{image.name}",
        "epoch": str(lock.epoch if lock else 0),
        "cloud_init": found[0] if found else "",
    }
    place = {
        "hetzner": ("hcloud_location", "hcloud_server_type"),
        "digitalocean": ("digitalocean_region", "digitalocean_size"),
    }.get(deploy.provider)
    if place:
        offers = (deploy.locations, deploy.server_types)
        chosen |= {name: offer[0] for name, offer in zip(place, offers, strict=True) if offer}
    return chosen


def labels(recipe: Recipe, way: str, **more: str) -> dict[str, str]:
    """What a snapshot says of itself, in words that fit a label: digests have 32 hex digits.

    `way` is how it came there: `provision` or `transfer`.
    """
    lock = recipe.plan.image.lock
    text = locks.dump(lock) if lock else ""
    return {
        "spec": recipe.spec.name,
        "image": recipe.id,
        "plan": recipe.digest[:32],
        "lock": hashlib.sha256(text.encode()).hexdigest()[:32] if lock else "none",
        "way": way,
        **more,
    }


def temporary_names(spec: str) -> re.Pattern[str]:
    """The names of what a build of this spec, and of no other one, makes at a vendor: its servers,
    and the snapshot before it has labels."""
    name = re.escape(spec)
    return re.compile(rf"{SERVER_PREFIX}{name}(?:{PROOF})?|{name}-[0-9a-f]{{12}}")


def write(
    recipe: Recipe,
    to: Path,
    *,
    repo: Path | None = None,
    payloads: Mapping[str, Path] | None = None,
) -> list[Path]:
    """Write the folder `to`; with `repo` and `payloads` whole, else with both of them empty.

    Files that stand there under these names are replaced, folders too. Returns what was written.
    """
    to.mkdir(parents=True, exist_ok=True)
    for name, source in ((REPO, {"": repo} if repo else {}), (PAYLOAD, payloads or {})):
        shutil.rmtree(to / name, ignore_errors=True)
        (to / name).mkdir()
        for below, folder in source.items():
            shutil.copytree(folder, to / name / below, symlinks=True, dirs_exist_ok=True)
    written = []
    for name, text in documents(recipe).items():
        write_whole(to / name, text)
        written.append(to / name)
    for name in SCRIPTS:
        (to / name).chmod(0o755)
    return written
