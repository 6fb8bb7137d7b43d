"""Debian's Packer with its own builders against emulated clouds: real servers, SSH and packages."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import archive
from images.build import build
from images.built import Built
from images.home import Home, find_home
from images.locking import lock_of
from images.packer import cloud, transfer
from images.progress import Progress
from images.providers.base import PROVEN
from images.run import run
from specs.read import read
from tests.emulators.digitalocean import DigitalOcean
from tests.emulators.hetzner import Hetzner, hetzner
from tests.emulators.machines import Machines
from tests.emulators.served import Api
from tests.integration.vendor import vendor_tree

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
caddy: {sites: {":80": {redirect: "https://example.org"}}}
deploy: {provider: PROVIDER, locations: [LOCATIONS], server_types: [TYPES], image_url: "URL"}
"""
URL = "https://images.example.org/{image}.raw"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of its own that shares the packages and layers."""
    known, own = find_home(), Home(tmp_path_factory.mktemp("home"))
    for name in ("packages", "layers", "bases"):
        (known.root / name).mkdir(parents=True, exist_ok=True)
        (own.root / name).symlink_to(known.root / name)
    return own


@pytest.fixture(scope="module")
def vendor(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of the vendor's image."""
    yield vendor_tree(home, tmp_path_factory.mktemp("vendor") / "debian")


def box(folder: Path, home: Home, provider: str, locations: str, types: str) -> Path:
    """A spec file with its lock, and its packages in the cache: there is no way out to the
    archives from where the emulated servers are."""
    file = folder / "box.yaml"
    text = BOX.replace("PROVIDER", provider).replace("LOCATIONS", locations)
    file.write_text(text.replace("TYPES", types).replace("URL", URL), encoding="utf-8")
    spec = read(file)
    lock = lock_of(spec, file, home, Progress())
    archive.fetch(spec.system, lock, home, lambda _: None)
    return file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hetzner]:
    """An empty project at Hetzner."""
    with hetzner(Home(tmp_path / "hetzner"), delay=0.3) as api:
        monkeypatch.setenv("HCLOUD_ENDPOINT", api.url)
        monkeypatch.setenv("HCLOUD_TOKEN", "token")
        yield api


@pytest.fixture
def account(
    tmp_path: Path, vendor: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DigitalOcean[Machines]]:
    """An empty account at DigitalOcean."""
    machines = Machines(Home(tmp_path / "digitalocean"))
    try:
        machines.add_image("debian", vendor)
        bases = {"debian-13-x64": "debian"}
        api = DigitalOcean(machines, bases=bases, add_image=machines.add_image, delay=0.3)
        with api.serving(machines.namespace):
            monkeypatch.setenv("DIGITALOCEAN_API_URL", api.url)
            monkeypatch.setenv("DIGITALOCEAN_TOKEN", "token")
            yield api
    finally:
        machines.close()


def test_hetzner(project: Hetzner, vendor: Path, home: Home, tmp_path: Path) -> None:
    """A full first location, then a snapshot that passes; nothing else is left."""
    base = project.add_image(vendor, kind="system", name="debian-13")
    project.servers.nowhere.add(("cx23", "nbg1"))
    file = box(tmp_path, home, "hetzner", "nbg1, fsn1", "cx23")
    with project.machines.inside():
        built, progress = built_once(file, home, "hetzner")
    found = [t.shown for t in project.images.things.values() if t.shown["type"] == "snapshot"]
    labels = found[0]["labels"]
    assert (labels["image"], labels["spec"]) == (built.image.id, "box")
    assert (labels["base"], labels["way"]) == (str(base), "provision")
    assert (labels["generation"], PROVEN in labels) == (str(built.generation.number), True)
    left = {kind: number for kind, number in project.left().items() if number}
    assert left == {"images": 1, "placement_groups": 1}, "the last one is the lease of builds"
    told(project, progress)


def test_digitalocean(account: DigitalOcean[Machines], home: Home, tmp_path: Path) -> None:
    """A size that is sold out in the first region, then a snapshot that passes."""
    account.full.add(("fra1", "s-1vcpu-1gb"))
    file = box(tmp_path, home, "digitalocean", "fra1, ams3", "s-1vcpu-1gb")
    with account.machines.inside():
        built, progress = built_once(file, home, "digitalocean")
    left = account.left()
    assert left["images"] == [built.image.id]
    assert not left["droplets"]
    assert not [name for name in left["keys"] if name.startswith("packer")]
    told(account, progress)


def test_a_disk_is_streamed_to_hetzner(
    project: Hetzner, vendor: Path, home: Home, tmp_path: Path
) -> None:
    """The image that was baked and proven here, bit by bit, by the rescue system."""
    project.add_image(vendor, kind="system", name="debian-13")
    project.rescue.offer(vendor)
    file = box(tmp_path, home, "hetzner", "fsn1", "cx23")
    spec, progress = read(file), Progress()
    with project.machines.inside():
        built = transfer.transfer(spec, file, home, progress, "hetzner")
        again = transfer.transfer(spec, file, home, Progress(), "hetzner")
    assert (built.cached, again.cached) == (False, True)
    (found,) = [t for t in project.images.things.values() if t.shown["type"] == "snapshot"]
    labels = found.shown["labels"]
    assert (labels["image"], labels["way"], PROVEN in labels) == (built.image.id, "transfer", True)
    raw = project.machines.cloud.raw(found.hidden["key"])
    assert first(raw, built.image.size) == first(built.path, built.image.size)
    left = {kind: number for kind, number in project.left().items() if number}
    assert left == {"images": 1, "placement_groups": 1}, "the last one is the lease of builds"
    told(project, progress)


def test_a_disk_is_fetched_by_digitalocean(
    account: DigitalOcean[Machines], home: Home, tmp_path: Path
) -> None:
    file = box(tmp_path, home, "digitalocean", "fra1", "s-1vcpu-1gb")
    spec, progress = read(file), Progress()
    baked = build(spec, file, home, progress)
    account.internet[URL.replace("{image}", baked.image.id)] = baked.path
    with account.machines.inside():
        built = transfer.transfer(spec, file, home, progress, "digitalocean")
        again = transfer.transfer(spec, file, home, Progress(), "digitalocean")
    assert (built.image.id, built.cached, again.cached) == (baked.image.id, False, True)
    left = account.left()
    assert left["images"] == [built.image.id]
    assert not left["droplets"]
    told(account, progress)


def first(disk: Path, size: int) -> str:
    """The digest of the first bytes of a file."""
    return run(["sh", "-c", f"head -c {size} {disk} | sha256sum"]).stdout.split()[0]


def built_once(file: Path, home: Home, provider: str) -> tuple[Built, Progress]:
    """Built, and found when it is to be built again."""
    spec, progress = read(file), Progress()
    built = cloud.build(spec, file, home, progress, provider)
    again = cloud.build(spec, file, home, Progress(), provider)
    assert (built.cached, again.cached) == (False, True)
    assert again.image.id == built.image.id
    return built, progress


def told(api: Api, progress: Progress) -> None:
    """The figures, and that none of our own requests is against the vendor's document."""
    agents = Counter(exchange.agent.partition("/")[0] for exchange in api.log)
    print(dict(progress.seconds), dict(agents), len(api.log))
    ours = [one for one in api.log if "packer" not in one.agent.lower() and one.wrong_request]
    assert not [one for one in ours if "godo" not in one.agent]
