"""A recipe: the plan, the documents rendered from it, and the identity of the image they make."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Final

from cloudinit.bake import bake
from images import payload
from specs import coverage, facts
from specs.errors import UsageError
from specs.lock import Lock, lock_path, parse
from specs.model import Spec
from specs.plan import Plan, resolve

PROJECT: Final = Path(__file__).parents[1]
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


def read_lock(spec_file: Path) -> Lock | None:
    """The lock beside the spec, or None when it has none yet. Raises UsageError for a bad one."""
    path = lock_path(spec_file)
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return None


@cache
def source_digest(module: str) -> str:
    """sha256 over a module of ours, all of ours that it imports, and the templates."""
    files = {PROJECT / "requirements.lock", *(PROJECT / "cloudinit/templates").rglob("*.j2")}
    waiting = [module]
    while waiting:
        file = _file_of(waiting.pop())
        if file is None or file in files:
            continue
        files.add(file)
        waiting += _imports(file)
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(PROJECT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _file_of(module: str) -> Path | None:
    """The file of a module of ours; None for a name inside a module and for others' modules."""
    path = PROJECT.joinpath(*module.split("."))
    if module.split(".", maxsplit=1)[0] not in ("specs", "cloudinit", "images"):
        return None
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imports(file: Path) -> list[str]:
    """Every module, and every name that may be one, that a file imports."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found
