"""Where Hetzner makes things: which types it sells where, and that a volume cannot travel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from images.home import Home
from images.providers.base import IMAGE, SPEC, Order
from images.providers.hetzner import Hetzner as Provider
from images.providers.hetzner_api import Api, ElsewhereError
from images.providers.waiting import Waiting
from specs.model import Deploy, Spec
from tests.emulators.hetzner import Hetzner, hetzner
from tests.emulators.small import small_tree

pytestmark = pytest.mark.root

LABELS = {SPEC: "shop"}
DEPLOY = Deploy(provider="hetzner", locations=("fsn1", "nbg1"), server_types=("cx23", "cx33"))
PATIENT = Waiting(first=0.01, longest=0.1, patience=20)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hetzner]:
    """One project for all tests of this file."""
    tree = small_tree(tmp_path_factory.mktemp("small"))
    with hetzner(Home(tmp_path_factory.mktemp("cloud"))) as found:
        found.add_image(tree, labels={**LABELS, IMAGE: "small"})
        yield found
        assert not found.wrong()
        assert not found.wrong_answers()


@pytest.fixture
def cloud(project: Hetzner) -> Iterator[Hetzner]:
    """Empty but for the image, before and after each test."""
    yield project
    own = provider(project)
    for spec in ("shop", "web"):
        for server in own.servers(spec):
            own.delete_server(server.id)
        for volume in own.volumes(spec):
            own.delete_volume(volume.name)
    project.servers.nowhere.clear()
    project.servers.unoffered.clear()
    for kind in (project.addresses.kind, project.networks.kind, project.networks.firewalls):
        kind.things.clear()


def provider(cloud: Hetzner, name: str = "shop", deploy: Deploy = DEPLOY) -> Provider:
    """An operator's of a spec."""
    home = Home(cloud.machines.cloud.root)
    return Provider(home, Api("token", cloud.url, PATIENT), Spec(name, deploy=deploy))


def order(own: Provider, name: str = "shop-1", spec: str = "shop") -> Order:
    image = own.image(Path("none"), "small")
    return Order(name, image, "#cloud-config\n", {SPEC: spec} if spec else {})


def made(cloud: Hetzner) -> dict[str, tuple[str, str]]:
    """Type and location of each server, by name."""
    things = cloud.servers.kind.things.values()
    return {
        one.shown["name"]: (one.shown["server_type"]["name"], one.hidden["location"])
        for one in things
    }


def test_a_type_that_is_not_sold_there_gives_way_to_the_next_pair(cloud: Hetzner) -> None:
    cloud.servers.unoffered |= {("cx23", "fsn1"), ("cx23", "nbg1"), ("cx33", "fsn1")}
    own = provider(cloud)
    own.create_server(order(own))
    assert made(cloud) == {"shop-1": ("cx33", "nbg1")}


def test_types_that_are_sold_nowhere_are_told(cloud: Hetzner) -> None:
    cloud.servers.unoffered |= {(t, p) for t in DEPLOY.server_types for p in DEPLOY.locations}
    own = provider(cloud)
    with pytest.raises(ElsewhereError, match="unsupported location for server type") as told:
        own.create_server(order(own))
    assert "deploy.server_types" in told.value.hint
