"""What the next build of a spec would make: its image, what changes, and what is made anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from images import archive, store
from images.compare import Comparison, compare, of_image, of_recipe
from images.home import Home
from images.progress import Progress
from images.rebuild import Before, Step, steps
from images.recipe import Recipe
from specs.errors import BakehouseError
from specs.lock import parse


@dataclass(frozen=True, slots=True)
class Preview:
    """`image` and `packages` are None without a lock, `since` and `difference` without a
    generation; `steps` is empty when the image exists.
    """

    spec: str
    image: str | None
    exists: bool
    packages: int | None
    since: int | None
    difference: Comparison | None
    steps: tuple[Step, ...]

    def as_data(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        difference = self.difference or Comparison(())
        return {
            "image": self.image,
            "exists": self.exists,
            "locked": self.image is not None,
            "packages": self.packages,
            "since": self.since,
            "changes": [asdict(change) for change in difference.changes],
            "notes": list(difference.notes),
            "rebuild": [asdict(step) for step in self.steps],
        }

    def lines(self) -> Iterator[str]:
        """The preview as a person reads it."""
        if self.image is None:
            yield f"{self.spec}: no lock yet; the first build (or `invoke lock`) makes one"
            yield "packages: not resolved yet"
        else:
            yield f"{self.spec}: image {self.image} {'exists' if self.exists else 'would be baked'}"
            yield f"packages: {self.packages}"
        if self.difference is None:
            yield "no generation yet"
        else:
            count = len(self.difference.changes)
            yield f"since generation {self.since}: {count or 'no'} changes"
            if count or self.difference.notes:
                yield from self.difference.lines()
        if self.steps:
            yield "what a build would do:"
            yield from (step.line() for step in self.steps)


def preview(recipe: Recipe, spec: str, home: Home, progress: Progress) -> Preview:
    """Look ahead; `spec` is the name to show.

    Brings updated packages into the cache when it can, as the build would: their changelogs say
    what they fix.
    """
    lock = recipe.plan.image.lock
    exists = lock is not None and store.find(home, recipe.id) is not None
    newest = store.newest(home, recipe.spec.name)
    image = store.find(home, newest.image) if newest else None
    before, difference = None, None
    if newest and image:
        if lock and not exists:
            _fetch(recipe, home, progress)
        old = of_image(home, image, f"{newest.name}@{newest.number}")
        difference = compare(home, old, of_recipe(home, recipe, spec))
        folder = home.images / image.id
        before = Before(
            parse((folder / "spec.lock").read_text(encoding="utf-8"), f"{image.id}/spec.lock"),
            (folder / "bake.yaml").read_text(encoding="utf-8"),
        )
    return Preview(
        spec=spec,
        image=recipe.id if lock else None,
        exists=exists,
        packages=len(lock.image_packages()) if lock else None,
        since=newest.number if newest and image else None,
        difference=difference,
        steps=() if exists else steps(recipe, home, before),
    )


def _fetch(recipe: Recipe, home: Home, progress: Progress) -> None:
    """Bring what the cache lacks, without the build lock: a look ahead must not wait for a bake.

    The cache takes whole files from many at once, and a build that begins now and empties `work`
    only costs us the changelogs.
    """
    lock = recipe.plan.image.lock
    assert lock is not None
    if all(archive.cached(home, package).exists() for package in lock.packages()):
        return
    try:
        with progress.stage("packages"):
            archive.fetch(recipe.spec.system, lock, home, progress.say)
    except (BakehouseError, OSError) as error:
        progress.note(str(error).splitlines()[0].rstrip(":"))
