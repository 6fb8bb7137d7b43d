"""A bake's manifest, put together from its layers, is that of the whole tree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import pytest

from images.disk import boot, gpt, tree
from images.disk.tree import Entry
from images.mounts import overlay
from images.ovens import manifest
from images.server import drift
from tests.integration.disks import EPOCH, change, make_base, write

pytestmark = pytest.mark.root


def more(root: Path) -> None:
    """A second layer: what the first one has goes, comes and is hidden."""
    write(root / "etc/app.conf", "a = 1\n")
    (root / "etc/passwd").unlink()
    shutil.rmtree(root / "usr/share/many")
    write(root / "usr/share/many/one", "one")


def bake(root: Path) -> None:
    """The last one, as cloud-init might make it."""
    write(root / "etc/passwd", "root:x:0:0::/root:/bin/bash\n")
    write(root / "etc/app.conf", "a = 2\n")
    shutil.rmtree(root / "usr/share/opaque")
    write(root / "usr/share/opaque/new", "new")
    (root / "usr/bin/su").unlink()


@pytest.mark.parametrize("layers", [[change], [more, bake], [change, bake], []])
def test_a_manifest_from_layers_is_that_of_the_merged_tree(
    layers: list[Callable[[Path], None]], tmp_path: Path
) -> None:
    stack = [make_base(tmp_path / "base")]
    (stack[0] / "usr/lib/bakehouse").mkdir(parents=True)
    for number, make in enumerate(layers):
        upper = tmp_path / f"layer{number}"
        with overlay(stack, upper, tmp_path / f"scratch{number}") as merged:
            make(merged)
        stack.append(upper)
    *lowers, last = stack if layers else [*stack, tmp_path / "nothing"]
    (last / "usr/lib/bakehouse").mkdir(parents=True, exist_ok=True)
    seen: dict[str, Entry] = reduce(
        lambda known, layer: tree.merge(known, tree.scan(layer, EPOCH)), lowers, {}
    )

    kept = tree.parse(tree.dump(tree.merge(seen, boot.files(gpt.names("seed"), EPOCH))))
    manifest.record(last, kept, manifest.facts(kept, lowers), EPOCH)

    told = (last / drift.MANIFEST).read_text()
    with overlay([*lowers, last], tmp_path / "top", tmp_path / "look") as merged:
        drift.record(merged, EPOCH)
        assert told == (merged / drift.MANIFEST).read_text()
    assert len(list(map(json.loads, told.splitlines()))) > 10
