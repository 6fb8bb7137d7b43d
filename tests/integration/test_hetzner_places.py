"""Where things are at Hetzner: which types it sells where, that a volume cannot travel, and whose
server has an address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from images.home import Home
from images.providers.base import IMAGE, SPEC, Order
from images.providers.hetzner import Hetzner as Provider
from images.providers.hetzner_api import Api, ElsewhereError
from images.providers.waiting import Waiting
from specs.errors import BakehouseError
from specs.model import Deploy, Spec
from tests.emulators.hetzner import Hetzner, hetzner
from tests.emulators.small import small_tree

pytestmark = pytest.mark.root

LABELS = {SPEC: "shop"}
DEPLOY = Deploy(provider="hetzner", locations=("fsn1", "nbg1"), server_types=("cx23", "cx33"))
GIB = 1 << 30
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


def test_servers_are_made_where_the_volume_is(cloud: Hetzner) -> None:
    """Also when the first server found no room where the spec would have it best."""
    cloud.servers.nowhere |= {(kind, "fsn1") for kind in DEPLOY.server_types}
    own = provider(cloud)
    first = own.create_server(order(own))
    own.create_volume("shop-data", 10 * GIB, LABELS)
    assert own.attach("shop-data", first.id)
    cloud.servers.nowhere.clear()
    second = own.create_server(order(own, "shop-2"))
    assert {place for _, place in made(cloud).values()} == {"nbg1"}
    own.detach("shop-data")
    assert own.attach("shop-data", second.id)


def test_a_volume_stays_where_it_is_though_the_spec_names_other_places(cloud: Hetzner) -> None:
    provider(cloud).create_volume("shop-data", 10 * GIB, LABELS)
    own = provider(cloud, deploy=replace(DEPLOY, locations=("nbg1",)))
    own.create_server(order(own))
    assert made(cloud)["shop-1"] == ("cx23", "fsn1")


def test_no_room_beside_the_volume_is_told(cloud: Hetzner) -> None:
    cloud.servers.nowhere |= {(kind, "fsn1") for kind in DEPLOY.server_types}
    own = provider(cloud)
    own.create_volume("shop-data", 10 * GIB, LABELS)
    with pytest.raises(
        ElsewhereError, match="no room for shop-1 in fsn1, where shop-data is"
    ) as told:
        own.create_server(order(own))
    assert "deploy.server_types" in told.value.hint
    assert "deploy.locations" not in told.value.hint
    assert made(cloud) == {}


def test_volumes_that_no_server_can_have_together_are_told(cloud: Hetzner) -> None:
    provider(cloud).create_volume("shop-data", 10 * GIB, LABELS)
    elsewhere = provider(cloud, deploy=replace(DEPLOY, locations=("nbg1",)))
    elsewhere.create_volume("shop-more", 10 * GIB, LABELS)
    own = provider(cloud)
    with pytest.raises(BakehouseError, match="shop-data is in fsn1, shop-more in nbg1"):
        own.create_server(order(own))
    assert made(cloud) == {}


def test_the_server_of_a_build_goes_where_there_is_room(cloud: Hetzner) -> None:
    """It is no server of the spec, and never has its volume."""
    own = provider(cloud)
    own.create_volume("shop-data", 10 * GIB, LABELS)
    cloud.servers.nowhere |= {("cx23", "fsn1")}
    own.create_server(order(own, "bakehouse-bake-shop", spec=""))
    assert made(cloud)["bakehouse-bake-shop"] == ("cx23", "nbg1")
    own.delete_server(str(next(iter(cloud.servers.kind.things))))


def test_an_address_that_another_specs_server_has_is_not_deleted(cloud: Hetzner) -> None:
    own, other = provider(cloud), provider(cloud, "web")
    ip = own.create_floating_ip("shop")
    server = other.create_server(order(other, "web-1", "web"))
    own.assign("shop", server.id)
    with pytest.raises(BakehouseError, match=rf"shop \({ip.v4}\) is at the server web-1") as told:
        own.forget("shop")
    assert "label spec=shop" in told.value.hint
    assert own.floating_ip("shop") == replace(ip, server=server.id)
    other.delete_server(server.id)
    own.forget("shop")
    assert own.floating_ip("shop").v4 == ""


def test_an_address_whose_label_was_taken_away_stays(cloud: Hetzner) -> None:
    """What the refusal says: then it is no spec's, and the rest of the old one goes."""
    own = provider(cloud)
    own.create_floating_ip("shop")
    for thing in cloud.addresses.kind.things.values():
        thing.shown["labels"] = {}
    own.make_note("shop-lease-1", {})
    own.forget("shop")
    assert own.floating_ip("shop").v4
    assert not own.notes("shop")


def test_an_address_that_is_not_in_the_project_is_told(cloud: Hetzner) -> None:
    own = provider(cloud)
    made = own.create_floating_ip("shop")
    assert own.create_floating_ip(made.v4).v4 == made.v4
    with pytest.raises(BakehouseError, match=r"203\.0\.113\.77 is not in this project"):
        own.create_floating_ip("203.0.113.77")
