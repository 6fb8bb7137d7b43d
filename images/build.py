"""From a spec file to a proven generation: lock when there is none, bake, verify, publish."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from images import store, stored_plan, verify
from images.built import Built, record
from images.changes import last_lock, told
from images.check import Check, check
from images.history import journal
from images.home import Home, build_lock, clear_work, need_space, write_whole
from images.locking import lock_of
from images.ovens import local
from images.progress import Progress
from images.recipe import Recipe, prepare
from images.sbom import provenance, sbom
from images.verify import Kind, Report
from specs.errors import BakehouseError
from specs.lock import Lock, dump
from specs.model import Spec

ROOM: int = 6_000_000_000
"""Bytes that a first bake takes at its height: packages, layers, two raw disks."""


class UnprovenError(BakehouseError):
    """An image was baked, and its suite found something wrong with it."""


def build(spec: Spec, spec_file: Path, home: Home, progress: Progress, *, after: int = 0) -> Built:
    """Bake and prove the image of a spec, and store it as its newest generation, whose number is
    larger than `after`.

    Raises UnprovenError when the image does not pass its suite, BakehouseError when anything else
    fails; the store is then as it was.
    """
    started = time.monotonic()
    with build_lock(home, f"build-image {spec.name}", progress.note):
        clear_work(home)
        need_space(home.root, ROOM, "a bake")
        lock = lock_of(spec, spec_file, home, progress)
        recipe = prepare(spec, spec_file, lock)
        image = store.find(home, recipe.id)
        cached = image is not None
        if image is None:
            image, generation = _recorded(recipe, lock, home, progress, after)
        else:
            generation = store.add_generation(home, spec.name, image.id, after)
        clear_work(home)
    path = store.raw_path(home, image.id)
    return Built(image, generation, path, cached, time.monotonic() - started)


def check_built(spec: Spec, spec_file: Path, home: Home, progress: Progress) -> Check:
    """Bake the image of a spec again from nothing and compare; it must be in the store."""
    with build_lock(home, f"build-image --check {spec.name}", progress.note):
        clear_work(home)
        recipe = prepare(spec, spec_file, lock_of(spec, spec_file, home, progress))
        found = check(recipe, store.look_up(home, recipe.id), home, progress)
        clear_work(home)
    return found


def prove(image: store.Image, home: Home, kind: Kind, progress: Progress) -> Report:
    """Boot a throwaway copy of a stored image and run its suite again; keeps a passing report."""
    with progress.stage("verify"):
        report = verify.verify(
            store.raw_path(home, image.id),
            stored_plan.load(home, image.id),
            kind=kind,
            image_id=image.id,
            digest=image.digest,
            say=progress.say,
        )
    _record_proof(home, image.name, report)
    if report.passed:
        write_whole(home.images / image.id / f"report-{kind}.json", report.as_json())
    return report


def _record_proof(home: Home, name: str, report: Report) -> None:
    """A proof's line in the journal."""
    why = {} if report.passed else {"why": report.summary()}
    facts = {"image": report.image, "boot": report.kind, "tests": report.tests, **why}
    outcome = "passed" if report.passed else "failed"
    journal(home, name).record("verify", outcome, total=report.seconds, **facts)


def _recorded(
    recipe: Recipe, lock: Lock, home: Home, progress: Progress, after: int
) -> tuple[store.Image, store.Generation]:
    """A bake with its line in the journal: what changed, what it fixes, how long it took."""
    name = recipe.spec.name
    log = journal(home, name)
    with log.recorded("build", image=recipe.id, seconds=progress.seconds) as found:
        before = last_lock(home, name)
        try:
            image = _bake_and_prove(recipe, lock, home, progress)
        finally:
            found.update(told(home, before, lock))
        generation = store.add_generation(home, name, image.id, after)
        found["generation"] = generation.number
    return image, generation


def _bake_and_prove(recipe: Recipe, lock: Lock, home: Home, progress: Progress) -> store.Image:
    staged = home.work / "staged"
    staged.mkdir(parents=True)
    baked = local.bake(recipe, home, staged / store.RAW, progress)
    with progress.stage("verify"):
        report = verify.verify(
            staged / store.RAW,
            recipe.plan,
            image_id=recipe.id,
            digest=baked.disk.digest,
            say=progress.say,
        )
    _record_proof(home, recipe.spec.name, report)
    write_whole(staged / "report.json", report.as_json())
    if not report.passed:
        kept = home.root / "failed"
        shutil.rmtree(kept, ignore_errors=True)
        staged.rename(kept)
        raise UnprovenError(
            f"{recipe.id} did not pass its verification\n{report.summary()}",
            f"the image is in {kept}, for a look; nothing was published",
        )
    write_whole(staged / "plan.json", stored_plan.dump(recipe.plan))
    write_whole(staged / "bake.yaml", recipe.bake)
    write_whole(staged / "spec.lock", dump(lock))
    write_whole(staged / "sbom.json", sbom(recipe))
    write_whole(staged / "provenance.json", provenance(recipe, baked.layers, baked.disk))
    image = record(recipe, baked, staged / store.RAW, progress.seconds)
    store.publish(home, staged, image)
    return image
