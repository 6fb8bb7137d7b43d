"""What promote relies on, held against every provider: two real servers of one image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from images.garbage import collect
from images.gc import find
from images.home import Home
from images.providers.base import SPEC, FloatingIp, Note, Server
from images.providers.choose import provider
from specs.errors import BakehouseError, UsageError
from specs.plan import resolve
from specs.read import read
from tests.integration.clouds import NAME, Yard, yard
from tests.integration.conftest import HOBBY

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", params=["local", "hetzner", "digitalocean"])
def place(
    request: pytest.FixtureRequest, hobby_image: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Yard]:
    root = tmp_path_factory.mktemp("home")
    plan = resolve(read(HOBBY), None, ()).server
    with yard(request.param, root, hobby_image, plan) as found:
        yield found
    collect(find(Home(root), servers=True, everything=True), print)


@pytest.fixture(scope="module")
def pair(place: Yard) -> tuple[Server, Server]:
    """Two servers that let us in, made at the same time."""
    made = [place.provider.create_server(place.order(f"{NAME}-{n}")) for n in (1, 2)]
    for server in made:
        place.enter(server)
    return made[0], made[1]


def test_a_note_is_made_once(place: Yard) -> None:
    cloud = place.provider
    assert cloud.make_note("shop-lease-1", {"owner": "a"})
    assert not cloud.make_note("shop-lease-1", {"owner": "b"})
    assert cloud.make_note("shop-lease-2", {"owner": "b"})
    assert cloud.make_note("other-lease-1", {})
    assert cloud.notes("shop-") == [
        Note("shop-lease-1", {"owner": "a"}),
        Note("shop-lease-2", {"owner": "b"}),
    ]
    cloud.change_note("shop-lease-2", {"state": "released"})
    assert cloud.notes("shop-lease-2")[0].labels == {"state": "released"}
    cloud.delete_note("shop-lease-2")
    cloud.delete_note("shop-lease-2")
    assert [note.name for note in cloud.notes("shop-")] == ["shop-lease-1"]
    with pytest.raises(BakehouseError, match="shop-lease-2"):
        cloud.change_note("shop-lease-2", {})
    assert not cloud.notes("shop-lease-2")


@pytest.mark.parametrize("bad", ["", "two words", "-x", "a/b", "x" * 64, "ü"])
def test_names_and_labels_are_short_words(place: Yard, bad: str) -> None:
    with pytest.raises(UsageError):
        place.provider.make_note(bad, {})
    with pytest.raises(UsageError):
        place.provider.make_note("n", {bad: "x"})
    if bad:
        with pytest.raises(UsageError):
            place.provider.make_note("n", {"x": bad})
    assert not place.provider.notes("n")


def test_a_server_is_as_ordered(place: Yard, pair: tuple[Server, Server]) -> None:
    found = place.look(pair[0])
    assert (found.name, found.status) == (f"{NAME}-1", "running")
    assert found.labels == place.order("any").labels
    assert place.on(found, "id -u").stdout == "0\n"
    addresses = place.on(found, "hostname --all-ip-addresses").stdout.split()
    assert set(filter(None, (found.address, found.address6, found.private))) <= {*addresses}


def test_an_order_is_answered_once(place: Yard, pair: tuple[Server, Server]) -> None:
    again = place.provider.create_server(place.order(pair[0].name))
    assert again.id == pair[0].id
    assert [server.id for server in place.provider.servers(NAME)] == [pair[0].id, pair[1].id]


def test_a_name_does_not_hide_another_image(
    place: Yard, pair: tuple[Server, Server], hobby_image: Path
) -> None:
    other = place.offer(hobby_image, "another-image")
    order = place.order(pair[0].name)
    with pytest.raises(BakehouseError, match="test-image"):
        place.provider.create_server(type(order)(order.name, other, order.user_data, order.labels))


def test_images_come_and_go(place: Yard, pair: tuple[Server, Server], hobby_image: Path) -> None:
    image = f"{NAME}-0123456789ab"
    for _ in range(2):
        assert place.offer(hobby_image, image)
        assert image in [found.id for found in place.provider.images(NAME)]
        assert not place.provider.images("other")
        place.provider.delete_image(image)
        place.provider.delete_image(image)
        assert image not in [found.id for found in place.provider.images(NAME)]
    assert place.look(pair[0]).status == "running"


def test_labels_are_replaced_and_found_by_anybody(place: Yard, pair: tuple[Server, Server]) -> None:
    place.provider.set_labels(pair[1].id, {SPEC: NAME, "role": "given-up", "epoch": "7"})
    anybody = provider(place.provider.name, place.home)
    found = {server.id: server.labels for server in anybody.servers(NAME)}
    assert found[pair[1].id] == {SPEC: NAME, "role": "given-up", "epoch": "7"}
    assert not anybody.servers("another-spec")
    place.provider.set_labels(pair[1].id, place.order("any").labels)


def test_the_floating_ip_leads_to_its_holder(place: Yard, pair: tuple[Server, Server]) -> None:
    """New connections, of both families, from the moment that `assign` returned."""
    cloud = place.provider
    for server in (pair[0], pair[1], pair[0]):
        cloud.assign(NAME, server.id)
        cloud.assign(NAME, server.id)
        assert cloud.floating_ip(NAME).server == server.id
        for address in filter(None, (place.ip.v4, place.ip.v6)):
            assert place.answering(address) == place.identity(server)
    cloud.assign(NAME, "")
    assert cloud.floating_ip(NAME) == place.ip
    assert place.answering(place.ip.v4) == ""


def test_servers_reach_each_other(place: Yard, pair: tuple[Server, Server]) -> None:
    words = f"ssh-keyscan -T 5 -t ed25519 {pair[1].private} 2>/dev/null"
    assert place.on(pair[0], words).stdout.split()[-1] == place.identity(pair[1])


def test_a_volume_is_one_server_s_at_a_time(place: Yard, pair: tuple[Server, Server]) -> None:
    cloud = place.provider
    made = cloud.create_volume("shop-data", 64 << 20, {SPEC: NAME})
    assert cloud.create_volume("shop-data", 64 << 20, {SPEC: NAME}) == made
    device = cloud.attach("shop-data", pair[0].id)
    assert cloud.attach("shop-data", pair[0].id) == device
    assert place.look(pair[0]).volumes == ("shop-data",)
    place.on(pair[0], f"mount {device} /mnt && echo kept >/mnt/mark && umount /mnt")
    with pytest.raises(BakehouseError, match="detach"):
        cloud.attach("shop-data", pair[1].id)
    cloud.detach("shop-data")
    cloud.detach("shop-data")
    device = cloud.attach("shop-data", pair[1].id)
    read_it = f"mount {device} /mnt && cat /mnt/mark && umount /mnt"
    assert place.on(pair[1], read_it).stdout == "kept\n"
    assert [volume.server for volume in cloud.volumes(NAME)] == [pair[1].id]
    cloud.delete_volume("shop-data")
    cloud.delete_volume("shop-data")
    assert not cloud.volumes(NAME)


def test_off_is_off_and_on_finds_the_disk_again(place: Yard, pair: tuple[Server, Server]) -> None:
    cloud, server = place.provider, pair[0]
    boot_id = place.boot_id(server)
    cloud.power_on(server.id)
    assert place.boot_id(server) == boot_id
    cloud.create_volume("shop-data", 64 << 20, {SPEC: NAME})
    device = cloud.attach("shop-data", server.id)
    place.on(server, f"mount {device} /mnt && echo volume >/mnt/mark")
    place.on(server, "echo disk >/root/mark; sync")
    cloud.power_off(server.id)
    cloud.power_off(server.id)
    assert place.look(server).status == "off"
    assert place.answering(server.address) == ""
    cloud.power_on(server.id)
    place.enter(server)
    assert place.on(server, "cat /root/mark").stdout == "disk\n"
    assert place.on(server, f"mount {device} /mnt && cat /mnt/mark").stdout == "volume\n"
    assert place.boot_id(server) != boot_id
    cloud.power_off(server.id)
    cloud.detach("shop-data")  # also from one that is off, whatever it had mounted


def test_what_is_deleted_is_gone(place: Yard, pair: tuple[Server, Server]) -> None:
    """The last test of the pair: its second server goes, with nothing that outlives it."""
    cloud, server = place.provider, pair[1]
    cloud.create_volume("shop-more", 64 << 20, {SPEC: NAME})
    cloud.attach("shop-more", server.id)
    cloud.assign(NAME, server.id)
    cloud.delete_server(server.id)
    cloud.delete_server(server.id)
    assert server.id not in [one.id for one in cloud.servers(NAME)]
    assert cloud.floating_ip(NAME).server == ""
    assert "" in [one.server for one in cloud.volumes(NAME) if one.name == "shop-more"]
    for call in (cloud.power_on, cloud.power_off):
        with pytest.raises(BakehouseError, match="no server"):
            call(server.id)


def test_nothing_is_forgotten_that_somebody_uses(place: Yard, pair: tuple[Server, Server]) -> None:
    cloud = place.provider
    with pytest.raises(BakehouseError, match=f"{NAME} still has {pair[0].name}"):
        cloud.forget(NAME)
    assert cloud.floating_ip(NAME).v4
    cloud.make_note("of-nobody-lease-1", {"owner": "a"})
    cloud.make_note(f"{NAME}-lease-77", {"owner": "a"})
    cloud.forget("of-nobody")
    cloud.forget("of-nobody")
    assert not cloud.notes("of-nobody")
    assert cloud.notes(f"{NAME}-lease-77")
    cloud.delete_note(f"{NAME}-lease-77")


def test_what_there_is_not_is_told(place: Yard) -> None:
    cloud = place.provider
    assert cloud.floating_ip("no-such-ip") == FloatingIp("no-such-ip", "", "", "")
    with pytest.raises(BakehouseError, match="no-such-ip"):
        cloud.assign("no-such-ip", "")
    with pytest.raises(BakehouseError, match="no server"):
        cloud.assign(NAME, "s99999")
    with pytest.raises(BakehouseError, match="no volume"):
        cloud.detach("no-such-volume")
    with pytest.raises(BakehouseError, match="no image"):
        cloud.create_server(type(place.order("x"))("x", "no-such-image", "", {}))
    with pytest.raises(UsageError, match="there is: local, hetzner, digitalocean"):
        provider("heaven", place.home)


def test_what_was_said_fits_the_vendor_s_document(place: Yard) -> None:
    """The last test: all that our client asked, and all that the emulator answered."""
    if place.emulator is None:
        pytest.skip("the local provider speaks no HTTP")
    assert place.emulator.log
    assert not place.emulator.wrong()
    assert not place.emulator.wrong_answers()
