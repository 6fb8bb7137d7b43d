"""The whole chain by the command line at DigitalOcean: first server, promote and rollback, under
load; what is asked of the vendor fits its document, and nothing is left there in the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from images.home import Home
from images.providers.base import Provider, Server
from images.providers.choose import provider
from images.ssh import as_root
from specs.read import read
from tests.emulators.digitalocean import DigitalOcean, digitalocean
from tests.emulators.digitalocean_network import Translated
from tests.integration.deployment import DEPLOY, NAME, Deployment, prepare
from tests.load.ledger import counts, read_requests

pytestmark = pytest.mark.root

RATE = 40.0
"""Requests a second."""

URL = "https://images.example.org/{image}.raw"
RENTED = f"""
deploy:
  provider: digitalocean
  locations: [fra1]
  server_types: [s-1vcpu-1gb, s-2vcpu-4gb]
  image_url: {URL}
  confirm: 3
  drain: 15
"""


@dataclass(slots=True)
class Rented(Deployment):
    """A deployment whose servers are droplets."""

    @property
    def provider(self) -> Provider:
        """The provider, as any machine with the token has it."""
        return provider("digitalocean", self.home, read(self.spec))

    def servers(self) -> list[Server]:
        """All servers of the spec."""
        return list(self.provider.servers(NAME))

    def shell(self, server: Server, line: str) -> str:
        """What a shell line prints on a server, run as root."""
        folder = self.home.root / "promote" / NAME / server.name
        door = self.provider.door(server, folder, "deploy", 22)
        return as_root(door, line, timeout=300).stdout


Site = tuple[Rented, DigitalOcean[Translated]]


@contextmanager
def rented(folder: Path) -> Iterator[Site]:
    """The first generation serves; this thread, and what it starts, is where users are."""
    found = prepare(folder)
    found.spec.write_text(found.spec.read_text().replace(DEPLOY.split("secrets:")[0], RENTED))
    internet = {
        URL.replace("{image}", image): found.home.images / image / "disk.raw"
        for image in found.images
    }
    with (
        digitalocean(Home(folder / "cloud"), internet=internet) as cloud,
        pytest.MonkeyPatch.context() as patch,
        cloud.machines.inside(),
    ):
        patch.setenv("DIGITALOCEAN_TOKEN", "token")
        patch.setenv("DIGITALOCEAN_API_URL", cloud.url)
        there = Rented(**{one.name: getattr(found, one.name) for one in fields(found)})
        there.invoke("promote", "--first", "--image", f"{NAME}@1")
        yield there, cloud


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with rented(tmp_path_factory.mktemp("rented")) as found:
        yield found


def test_promote_and_rollback_lose_nothing(site: Site) -> None:
    """Users at work all the time; the newest data is there both ways."""
    there, _ = site
    with there.users(RATE) as books:
        time.sleep(3)
        promoted = there.told("promote", "--image", f"{NAME}@2")
        assert (promoted["generation"], promoted["rolled_back"]) == (2, False)
        back = there.told("rollback")
        assert (back["generation"], back["rolled_back"]) == (1, False)
        time.sleep(2)
    found = counts(read_requests(books))
    assert (found["failed"], found["cut"]) == (0, 0), found
    assert found["requests"] > 10 * RATE
    difference = there.difference(books)
    assert not any((difference.lost, difference.doubled, difference.altered)), difference
    states = {one["label"]: one["state"] for one in there.told("status")["servers"]}
    assert states == {"active": "serving", "standby": "following"}


def test_what_was_said_fits_the_vendor_s_document(site: Site) -> None:
    """All that was asked and answered, of the image, servers, addresses, labels and leases."""
    _, cloud = site
    assert len(cloud.log) > 100
    assert not cloud.wrong()
    assert not cloud.wrong_answers()


def test_nothing_is_left_that_costs(site: Site) -> None:
    """The last test: what docs/digitalocean.md says of getting rid of it all."""
    there, cloud = site
    for server in there.servers():
        there.provider.delete_server(server.id)
    for image in there.provider.images(NAME):
        there.provider.delete_image(image.id)
    left = cloud.left()
    assert (left["droplets"], left["volumes"], left["images"]) == ([], [], [])
    assert len(left["reserved"]) == 1
