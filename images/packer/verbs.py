"""The verbs render and build-image. Each parses its call, calls one function, prints.

What a verb needs is imported when it runs, as in `tasks`.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from invoke.context import Context

from images.calls import emit
from images.options import SPEC, verb


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
    if recipe.plan.image.lock is None:
        print("no lock yet: packages are rendered without versions", file=sys.stderr)
    for name, text in (("bake.yaml", recipe.bake), ("boot.yaml", boot(recipe.plan.server))):
        write_whole(folder / name, text)
        print(folder / name)
    if whole:
        from images.packer.supplies import write_whole_folder
        from images.progress import Progress

        _alone("laying out packages")
        written = write_whole_folder(recipe, find_home(store), folder / "packer", Progress())
    else:
        written = packer.write(recipe, folder / "packer")
    for file in written:
        print(file)


@verb("spec", "store", "json", check="bake it again from nothing and compare, bit by bit")
def build_image(
    _: Context, spec: str = SPEC, store: str = "", check: bool = False, json: bool = False
) -> None:
    """Bake the image of a spec, prove it by booting it, store it as a generation."""
    from images.built import find_built
    from images.home import find_home
    from specs.read import read

    path, home = Path(spec), find_home(store)
    model = read(path)
    built = find_built(model, path, home)
    if built is None or check:
        from images.build import build, check_built
        from images.progress import Progress

        _alone("baking an image")
        built = built or build(model, path, home, Progress())
        if check:
            found = check_built(model, path, home, Progress())
            emit(json, asdict(found), found.summary())
            sys.exit(0 if found.same else 1)
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


def _alone(what: str) -> None:
    """For what mounts and boots: needs root, and goes on in namespaces that end with it."""
    from images.isolation import isolate
    from images.run import require_root

    require_root(what)
    isolate()
