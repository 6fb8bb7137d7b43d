"""What `packer/` uploads beside its documents: the locked packages, and the plan's payloads."""

from __future__ import annotations

from pathlib import Path

from images import archive
from images.home import Home, build_lock, clear_work
from images.ovens import payloads, repository
from images.ovens.job import Job
from images.packer import folder
from images.progress import Progress
from images.recipe import Recipe
from specs.errors import BakehouseError


def write_whole_folder(recipe: Recipe, home: Home, to: Path, progress: Progress) -> list[Path]:
    """Write the folder `to` with all that a build needs, alone; returns its documents.

    Raises as `lay_out`.
    """
    with build_lock(home, f"render {recipe.spec.name}", progress.note):
        clear_work(home)
        written = lay_out(recipe, home, to, progress)
        clear_work(home)
    return written


def lay_out(recipe: Recipe, home: Home, to: Path, progress: Progress) -> list[Path]:
    """The same for who has the build lock, with an empty work folder.

    Raises BakehouseError when the plan has no lock or a package cannot be had. Apps that are built
    need root, as in any bake.
    """
    lock = recipe.plan.image.lock
    if lock is None:
        raise BakehouseError(f"{recipe.spec.name} has no lock", "run `invoke lock` first")
    job = Job(recipe, lock, home, progress.say)
    with progress.stage("packages"):
        archive.fetch(recipe.spec.system, lock, home, job.say)
        repo = repository.make(home, lock.image_packages(), lock.release, home.work / "repo")
    with progress.stage("payloads"):
        return folder.write(recipe, to, repo=repo, payloads=payloads.assemble(job))
