"""A recipe: the plan, the documents rendered from it, and the identity of the image they make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from cloudinit.bake import bake
from images import payload
from images.source import files, source_digest
from specs import coverage, facts
from specs.errors import UsageError
from specs.lock import Lock, load, lock_path
from specs.merge import read_files
from specs.model import Spec
from specs.plan import Plan, resolve

OVEN: Final = "images.ovens.local"


@dataclass(frozen=True)
class Recipe:
    """Everything that one bake needs. `sources` says where each payload's content lies."""

    spec: Spec
    plan: Plan
    bake: str
    source: str
    sources: Mapping[str, Path]

    @cached_property
    def digest(self) -> str:
        """sha256 over the whole ImagePlan, its document and the code that bakes it."""
        made_from = [asdict(self.plan.image), self.bake, self.source]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

    @property
    def id(self) -> str:
        """`<name>-<first 12 digits of the digest>`: the same id, the same bits."""
        return f"{self.spec.name}-{self.digest[:12]}"


def prepare(spec: Spec, spec_file: Path, lock: Lock | None) -> Recipe:
    """Gather what the spec names on disk and render its documents. Reads only.

    Raises UsageError when the lock was made for what the spec no longer says.
    """
    stale = list(coverage.differences(spec, spec_file.parent, lock)) if lock else []
    if stale:
        raise UsageError(
            f"{lock_path(spec_file)} is not of this spec any more: {'; '.join(stale)}",
            "run `invoke lock`: it adds what is missing and leaves the rest as it is",
        )
    found = facts.gather(spec, spec_file.parent, lock)
    ours = payload.server()
    plan = resolve(spec, lock, (ours.payload, *found.payloads))
    image = plan.image
    return Recipe(
        spec=spec,
        plan=replace(plan, server=replace(plan.server, image_id="")),
        bake=bake(image),
        source=source_digest(OVEN),
        sources={ours.payload.sha256: ours.folder, **found.sources},
    )


def inputs(spec: Spec, spec_file: Path) -> Iterator[Path]:
    """Every file that `prepare` reads for a spec with a lock, and every folder that it lists."""
    for source in read_files(spec_file):
        yield from source.paths
    yield lock_path(spec_file)
    for one in facts.named(spec):
        place = spec_file.parent / one.path
        yield place
        if one.kind == "folder":
            yield from (path for _, path in facts.contents(place))
    yield from files()


def read_lock(spec_file: Path) -> Lock | None:
    """The lock beside the spec, or None when it has none yet. Raises UsageError for a bad one."""
    try:
        return load(lock_path(spec_file))
    except FileNotFoundError:
        return None
