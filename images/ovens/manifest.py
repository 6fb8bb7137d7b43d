"""The manifest of a bake's files, from those of its layers: only what cloud-init changed is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from images.disk import tree
from images.disk.tree import Tree
from images.server import drift
from images.server.drift import Facts


def lowers(layers: Sequence[Path], known: Tree, latest: int) -> dict[str, Facts]:
    """The facts of `known`, which is what one sees of `layers` (lowest first)."""
    found: dict[str, Facts] = {}
    for layer in layers:
        found.update(drift.entries(layer, latest))
    return {
        path: facts for path, facts in found.items() if path in known and known[path].kind != "dir"
    }


def record(upper: Path, known: Tree, below: Mapping[str, Facts], latest: int) -> None:
    """Write the manifest of `upper` over `known` into `upper`; `below` is `lowers` of `known`.

    The same text as `drift.record` of the merged tree.
    """
    change = tree.scan(upper, latest)
    gone = tree.hidden(known, change)
    ours = {
        path: facts
        for path, facts in drift.entries(upper, latest)
        if change[path].kind != "whiteout"
    }
    kept = {path: facts for path, facts in below.items() if path not in gone}
    drift.write(upper / drift.MANIFEST, kept | ours)
