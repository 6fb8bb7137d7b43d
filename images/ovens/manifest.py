"""The manifest of a bake's files, from those of its layers: only what cloud-init changed is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from images.disk import tree
from images.disk.tree import Tree
from images.server import drift
from images.server.drift import Facts


def lowers(layers: Sequence[Path], latest: int) -> dict[str, Facts]:
    """The facts of all that is in `layers` (lowest first), also of what none sees any more."""
    found: dict[str, Facts] = {}
    for layer in layers:
        found.update(drift.entries(layer, latest))
    return found


def record(upper: Path, known: Tree, below: Mapping[str, Facts], latest: int) -> None:
    """Write the manifest of `upper` over `known` into `upper`; `below` is `lowers` of the layers
    that `known` is what one sees of.

    The same text as `drift.record` of the merged tree.
    """
    change = tree.scan(upper, latest)
    gone = tree.hidden(known, change)
    kept = {
        path: facts
        for path, facts in below.items()
        if path in known and known[path].kind != "dir" and path not in gone
    }
    ours = {
        path: facts
        for path, facts in drift.entries(upper, latest)
        if change[path].kind != "whiteout"
    }
    file = upper / drift.MANIFEST
    file.parent.mkdir(parents=True, exist_ok=True)
    drift.write(file, kept | ours)
