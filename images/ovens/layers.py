"""The layers of packages that an image stands on, and those of the tools and the built apps.

`install` makes one; here is which there are, in which order, and between which scripts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cloudinit.bake import after_packages, before_other_packages, before_packages
from images.disk import Base, Tools
from images.mounts import merged
from images.ovens.install import INSTALL, Layer, core, layer_id, stacked
from images.ovens.job import Job
from specs.lock import STACK, Lock
from specs.plan import ImagePlan


def server(job: Job) -> dict[str, Layer]:
    """The image's layers by the name of their set, lowest first. Every server has the same base."""
    stack = {STACK[0]: core(job)}
    for name, before in _above_core(job.recipe.plan.image, job.lock):
        stack[name] = stacked(job, [*stack.values()], job.lock.sets[name], _script(before))
    return stack


def identities(plan: ImagePlan, lock: Lock) -> dict[str, str]:
    """The id of every layer that a bake of this plan needs, by the name of its set; makes none."""
    ids = {"core": layer_id("", lock.sets["core"], "")}
    parent = ids["core"]
    for name, before in _above_core(plan, lock):
        parent = ids[name] = layer_id(parent, lock.sets[name], _script(before))
    for name in sorted(set(lock.sets) - set(STACK)):
        if lock.sets[name]:
            ids[name] = layer_id(ids["core"], lock.sets[name], _script(before_other_packages()))
    return ids


def made(job: Job) -> set[str]:
    """The sets whose layers are there, so that nothing waits for a look into their packages."""
    ids = identities(job.recipe.plan.image, job.lock)
    return {name for name, identity in ids.items() if (job.home.layers / identity).exists()}


def _above_core(plan: ImagePlan, lock: Lock) -> Iterator[tuple[str, str]]:
    """The sets of an image above `core`, lowest first, and the script before each."""
    before = before_other_packages()
    for name in STACK[1:]:
        if lock.sets[name]:
            yield name, before
        before = before_packages(plan)


def other(job: Job, name: str) -> Layer:
    """The layer of the set `name` (`tools`, `app:<name>`), which stands on `core`."""
    return stacked(job, [core(job)], job.lock.sets[name], _script(before_other_packages()))


@contextmanager
def whole(job: Job, name: str) -> Iterator[Path]:
    """The tree of `other(job, name)` with the core below it, read-only."""
    lowers = [core(job).tree, other(job, name).tree]
    with (
        tempfile.TemporaryDirectory(dir=job.home.work, prefix="whole-") as folder,
        merged(lowers, Path(folder)) as tree,
    ):
        yield tree


def base(stack: Mapping[str, Layer], tools: Tools) -> Base:
    """The disk below a bake: what a spec adds of its own is patched in, so it costs little."""
    own = stack.get(STACK[-1])
    ground = [layer for layer in stack.values() if layer is not own]
    lowest = Base(tuple(layer.tree for layer in ground), ground[-1].clock, tools)
    return Base((own.tree,), own.clock, tools, lowest) if own else lowest


def _script(before: str) -> str:
    return f"{before}\n{INSTALL}\n{after_packages()}"
