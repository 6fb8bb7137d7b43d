"""Puts an image that Packer made into the store: as a disk, or as the record of a snapshot."""

from __future__ import annotations

import shutil
from pathlib import Path

from images import store, stored_plan
from images.build import UnprovenError
from images.built import Built
from images.history import journal
from images.home import Home, write_whole
from images.progress import Progress
from images.providers.base import GENERATION, PROVEN, Stored
from images.recipe import Recipe
from images.sbom import sbom
from images.verify import Report
from specs.lock import dump


def keep(
    recipe: Recipe,
    home: Home,
    report: Report,
    progress: Progress,
    *,
    raw: Path | None,
    after: int = 0,
) -> tuple[store.Image, store.Generation]:
    """Publish it with its report as the newest generation, whose number is larger than `after`.

    A snapshot lies at its provider, so its disk here is an empty file. Raises UnprovenError when
    the report is no pass; the store is then as it was.
    """
    if not report.passed:
        raise UnprovenError(
            f"{recipe.id} did not pass its verification\n{report.summary()}",
            "nothing was published",
        )
    image = _record(recipe, home, report, progress, raw=raw)
    return image, store.add_generation(home, recipe.spec.name, image.id, after)


def _record(
    recipe: Recipe, home: Home, report: Report, progress: Progress, *, raw: Path | None
) -> store.Image:
    """Publish what is known of it."""
    lock = recipe.plan.image.lock
    assert lock is not None  # nothing is built without
    staged = home.work / "staged"
    staged.mkdir(parents=True)
    disk = staged / store.RAW
    if raw:
        shutil.move(raw, disk)
    else:
        disk.touch()
    write_whole(staged / "plan.json", stored_plan.dump(recipe.plan))
    write_whole(staged / "bake.yaml", recipe.bake)
    write_whole(staged / "spec.lock", dump(lock))
    write_whole(staged / "sbom.json", sbom(recipe))
    write_whole(staged / "report.json", report.as_json())
    image = store.Image(
        id=recipe.id,
        name=recipe.spec.name,
        digest=report.digest,
        size=disk.stat().st_size,
        created=store.now(),
        plan=recipe.digest,
        layers=(),
        seconds=progress.seconds,
        seen=store.seen(disk),
    )
    store.publish(home, staged, image)
    return image


def existing(recipe: Recipe, home: Home, after: int = 0, *, disk: bool = True) -> Built | None:
    """The image of this id when the store has it already, as its newest generation; without `disk`
    its record will do."""
    image = (store.find if disk else store.recorded)(home, recipe.id)
    if image is None:
        return None
    generation = store.add_generation(home, recipe.spec.name, image.id, after)
    return Built(image, generation, store.raw_path(home, image.id), True, 0.0)


def elsewhere(recipe: Recipe, home: Home, snapshot: Stored, after: int = 0) -> Built:
    """A proven snapshot that another machine made: its record, as the generation that its label
    tells, unless this home has another one of that number."""
    when = snapshot.labels[PROVEN]
    told = {"the suite's single tests": f"asked on {when}, where the snapshot was made"}
    report = Report(recipe.id, "", "cloud", f"{when}T00:00:00Z", 0.0, 1, (), told)
    image = _record(recipe, home, report, Progress(), raw=None)
    known = {one.number: one.image for one in store.generations(home, recipe.spec.name)}
    number = snapshot.labels.get(GENERATION, "")
    if number.isdecimal() and known.get(int(number), image.id) == image.id:
        generation = store.Generation(recipe.spec.name, int(number), image.id, store.now())
        store.keep_generation(home, generation)
    else:
        generation = store.add_generation(home, recipe.spec.name, image.id, after)
    return Built(image, generation, store.raw_path(home, image.id), True, 0.0)


def told(home: Home, built: Built, progress: Progress) -> None:
    """The build's line in the journal."""
    journal(home, built.image.name).record(
        "build",
        "done",
        image=built.image.id,
        generation=built.generation.number,
        seconds=progress.seconds,
        total=round(built.seconds, 1),
    )
