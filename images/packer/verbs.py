"""The verbs render and build-image. Each parses its call, calls one function, prints.

What a verb needs is imported when it runs, as in `tasks`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from images.calls import emit
from images.options import SPEC, verb

if TYPE_CHECKING:
    from images.built import Built
    from images.home import Home
    from specs.model import Spec


@verb(
    "spec",
    "store",
    out="the folder to write into (made when it is not there)",
    whole="also lay out the locked packages and payloads that Packer uploads",
)
def render(
    _: Context, spec: str = SPEC, out: str = "rendered", whole: bool = False, store: str = ""
) -> None:
    """Write what a spec becomes into a folder: cloud-init documents, and packer/ below."""
    from cloudinit.boot import boot
    from images.home import find_home, write_whole
    from images.packer import folder as packer
    from images.recipe import prepare, read_lock
    from specs.read import read

    path, folder = Path(spec), Path(out)
    recipe = prepare(read(path), path, read_lock(path))
    for_packer = packer.provisioned(recipe, "")
    if recipe.plan.image.lock is None:
        print("no lock yet: packages are rendered without versions", file=sys.stderr)
    for name, text in (("bake.yaml", recipe.bake), ("boot.yaml", boot(recipe.plan.server))):
        write_whole(folder / name, text)
        print(folder / name)
    if whole:
        from images.packer.supplies import write_whole_folder
        from images.progress import Progress

        _alone("laying out packages")
        written = write_whole_folder(for_packer, find_home(store), folder / "packer", Progress())
    else:
        written = packer.write(for_packer, folder / "packer")
    for file in written:
        print(file)


@verb(
    "spec",
    "store",
    "json",
    check="bake it again from nothing and compare, bit by bit (local only)",
    provider="where to bake: local (default), or by Packer: qemu, hetzner, digitalocean",
    base="with qemu: the vendor's disk image to begin with",
    way="at a vendor: provision its Debian (default), or transfer the disk that is baked here",
)
def build_image(
    _: Context,
    spec: str = SPEC,
    store: str = "",
    check: bool = False,
    provider: str = "local",
    base: str = "",
    way: str = "provision",
    json: bool = False,
) -> None:
    """Bake the image of a spec, prove it by booting it, store it as a generation."""
    from images import stamp
    from images.home import find_home
    from specs.errors import UsageError

    path, home = Path(spec), find_home(store)
    if check and provider != "local":
        raise UsageError("--check needs a local bake", "leave --provider out")
    untouched = stamp.find(path, home) if provider == "local" and not check else None
    if untouched:
        built = untouched
    elif provider == "local":
        built = _here(path, home, check, json)
    else:
        from specs.read import read

        built = _by_packer(read(path), path, home, provider, base, way)
    data = {
        "image": built.image.id,
        "digest": built.image.digest,
        "path": str(built.path),
        "cached": built.cached,
        "seconds": round(built.seconds, 3),
        "generation": built.generation.number,
    }
    how = "exists" if built.cached else "is baked and proven"
    text = f"{built.image.id} {how}: generation {built.generation.number}\n{built.path}"
    emit(json, data, text)


def _here(path: Path, home: Home, check: bool, json: bool) -> Built:
    """The image as this machine bakes it, if it is not there; with `check` ends the process."""
    from images import stamp
    from images.existing import find_existing
    from images.recipe import inputs
    from specs.read import read

    began = time.time_ns()
    model = read(path)
    seen = stamp.looks(inputs(model, path))
    built = find_existing(model, path, home)
    if built is None or check:
        from images.build import build, check_built
        from images.progress import Progress

        _alone("baking an image")
        built = built or build(model, path, home, Progress())
        if check:
            same = check_built(model, path, home, Progress())
            emit(json, asdict(same), same.summary())
            sys.exit(0 if same.same else 1)
    stamp.keep(built, path, seen, home, began)
    return built


def _by_packer(spec: Spec, path: Path, home: Home, provider: str, base: str, way: str) -> Built:
    """An image at a vendor, or on a vendor's base image."""
    from images.packer import cloud, transfer, virtual
    from images.progress import Progress
    from specs.errors import UsageError

    if way not in ("provision", "transfer"):
        raise UsageError(f"--way {way}: no such way", "use provision or transfer")
    match provider:
        case "qemu":
            _alone("booting an image")
            return virtual.build(spec, path, home, Progress(), base)
        case "hetzner" | "digitalocean" if way == "transfer":
            _alone("baking and booting an image")
            return transfer.transfer(spec, path, home, Progress(), provider)
        case "hetzner" | "digitalocean":
            if any(app.build for app in spec.apps):
                _alone("baking the apps' images")
            return cloud.build(spec, path, home, Progress(), provider)
        case _:
            raise UsageError(
                f"--provider {provider}: no such place to bake",
                "use local, qemu, hetzner or digitalocean",
            )


def _alone(what: str) -> None:
    """For what mounts and boots: needs root, and goes on in namespaces that end with it."""
    from images.isolation import isolate
    from images.run import require_root

    require_root(what)
    isolate()
