"""Debian's Packer with its own builders against emulated clouds: real servers, SSH and packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.home import Home, find_home
from images.packer import cloud
from images.packer.cloud import PROVEN
from images.packer.folder import SERVER_PREFIX
from images.progress import Progress
from images.store import generations
from specs.read import read
from tests.emulators.hetzner import Hetzner, hetzner
from tests.integration.vendor import vendor_tree

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("packer") is None, reason="packer is not installed"),
]

BOX = """
name: box
ssh: {kex: compat}
users: {deploy: {sudo: true}}
system: {packages: [jq]}
caddy: {sites: {":80": {redirect: "https://example.org"}}}
deploy: {provider: PROVIDER, locations: [LOCATIONS], server_types: [TYPES]}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of its own that shares the packages and layers."""
    known, own = find_home(), Home(tmp_path_factory.mktemp("home"))
    for name in ("packages", "layers"):
        (known.root / name).mkdir(parents=True, exist_ok=True)
        (own.root / name).symlink_to(known.root / name)
    return own


@pytest.fixture(scope="module")
def vendor(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of the vendor's image."""
    yield vendor_tree(home, tmp_path_factory.mktemp("vendor") / "debian")


def spec_file(folder: Path, provider: str, locations: str, types: str) -> Path:
    file = folder / "box.yaml"
    text = BOX.replace("PROVIDER", provider).replace("LOCATIONS", locations)
    file.write_text(text.replace("TYPES", types), encoding="utf-8")
    return file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hetzner]:
    """An empty project at Hetzner."""
    with hetzner(Home(tmp_path / "hetzner"), delay=0.3) as api:
        monkeypatch.setenv("HCLOUD_ENDPOINT", api.url)
        monkeypatch.setenv("HCLOUD_TOKEN", "token")
        yield api


def test_hetzner(project: Hetzner, vendor: Path, home: Home, tmp_path: Path) -> None:
    """A full first location, a server that a dead run left, then a snapshot that passes."""
    base = project.add_image(vendor, kind="system", name="debian-13")
    project.servers.nowhere.add(("cx23", "nbg1"))
    file = spec_file(tmp_path, "hetzner", "nbg1, fsn1", "cx23")
    spec = read(file)
    with project.machines.inside():
        built = cloud.build(spec, file, home, Progress(), "hetzner")
        again = cloud.build(spec, file, home, Progress(), "hetzner")
    assert (built.cached, again.cached) == (False, True)
    assert again.image.id == built.image.id
    assert [g.image for g in generations(home, "box")] == [built.image.id]
    found = [t.shown for t in project.images.things.values() if t.shown["type"] == "snapshot"]
    assert [image["labels"]["image"] for image in found] == [built.image.id]
    labels = found[0]["labels"]
    assert (labels["spec"], labels["base"], labels["way"]) == ("box", str(base), "provision")
    assert (labels["generation"], PROVEN in labels) == ("1", True)
    assert not project.servers.kind.things
    assert not project.keys.things
    assert os.environ["HCLOUD_TOKEN"] not in (home.root / "history/box.jsonl").read_text()
    assert SERVER_PREFIX in "".join(str(entry) for entry in project.log)
