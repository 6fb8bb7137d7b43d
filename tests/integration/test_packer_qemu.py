"""Debian's Packer with its qemu builder, without KVM: a disk image from a base disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from images import store
from images.home import Home, find_home
from images.packer import virtual
from images.progress import Progress
from specs.read import read
from tests.integration.vendor import vendor_disk

pytestmark = [
    pytest.mark.root,
    pytest.mark.full,
    pytest.mark.skipif(shutil.which("packer") is None, reason="packer is not installed"),
]

BOX = """
name: box
ssh: {kex: compat}
users: {deploy: {sudo: true}}
system: {packages: [jq]}
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of its own that shares packages and layers."""
    known, own = find_home(), Home(tmp_path / "home")
    own.root.mkdir()
    for name in ("packages", "layers", "bases"):
        (known.root / name).mkdir(parents=True, exist_ok=True)
        (own.root / name).symlink_to(known.root / name)
    return own


def test_qemu(home: Home, tmp_path: Path) -> None:
    """A base disk becomes an image that boots by BIOS and passes; the second time it is there."""
    base = vendor_disk(home, tmp_path / "vendor.raw")
    file = tmp_path / "box.yaml"
    file.write_text(BOX, encoding="utf-8")
    built = virtual.build(read(file), file, home, Progress(), str(base))
    again = virtual.build(read(file), file, home, Progress(), str(base))
    assert (built.cached, again.cached) == (False, True)
    report = store.report(home, built.image.id)
    assert (report["kind"], report["passed"]) == ("bios", True)
    assert report["digest"] == built.image.digest
    assert again.image == built.image
    packages = json.loads((home.images / built.image.id / "sbom.json").read_text())
    assert "jq" in {component["name"] for component in packages["components"]}
    assert not any(home.work.iterdir())
