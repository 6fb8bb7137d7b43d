"""One bake in a process of its own, for its time and memory to be measured from outside.

    python -m tests.benchmarks.bake_once HOME SPEC [--publish]

Prints `{"peak": bytes}` of this process alone. `--publish` puts the image into the (throwaway) home
as if it were proven, for a build that finds it there.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from images import store
from images.built import record
from images.home import Home, build_lock, clear_work
from images.isolation import isolate
from images.ovens import local
from images.progress import Progress
from images.recipe import prepare, read_lock
from specs.read import read


def main(root: str, spec: str, *options: str) -> None:
    home, path, progress = Home(Path(root)), Path(spec), Progress()
    isolate()
    with build_lock(home, "bench", progress.note):
        clear_work(home)
        recipe = prepare(read(path), path, read_lock(path))
        staged = home.work / "staged"
        staged.mkdir()
        baked = local.bake(recipe, home, staged / store.RAW, progress)
        if "--publish" in options:
            image = record(recipe, baked, staged / store.RAW, progress.seconds)
            store.publish(home, staged, image)
            store.add_generation(home, recipe.spec.name, image.id)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
