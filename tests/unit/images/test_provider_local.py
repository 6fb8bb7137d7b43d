"""The local cloud's files, rules and routes, without a server."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from images.home import Home
from images.network import MACHINES
from images.providers import local_floating, local_notes, local_servers
from images.providers.base import FloatingIp, Note
from images.providers.local_network import FLOATING, Floating, routes, rules
from images.providers.local_state import (
    Cloud,
    Record,
    checked,
    cloud_of,
    keep,
    new_record,
    record,
    records,
    word,
    write,
)
from specs.errors import BakehouseError, UsageError

ONE = Record(1, 1, "shop-1", "shop-0123", {}, 1 << 30, "")
TWO = replace(ONE, number=202, place=2, name="shop-2")


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path / "cloud")


def test_a_home_has_one_cloud_by_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    names = {cloud_of(Home(tmp_path / name)).name for name in ("real", "link")}
    assert len(names) == 1
    assert len(names.pop()) == len("bhc-012345")
    assert cloud_of(Home(tmp_path / "other")).name not in names


def test_looking_makes_nothing(cloud: Cloud) -> None:
    """Not even the folder: `status` asks what there is, on whatever machine."""
    assert local_floating.find(cloud, "shop") == FloatingIp("shop", "", "", "")
    assert local_notes.notes(cloud, "shop-") == []
    assert records(cloud) == []
    assert not cloud.root.exists()


def test_interfaces_have_names_that_the_kernel_takes() -> None:
    """15 bytes (IFNAMSIZ); nspawn shortens longer ones, and the rules would miss them."""
    assert ONE.link == "vb-s1"
    assert len(replace(ONE, number=99_999_999).link) <= 15


def test_routes_lead_to_the_holder_or_nowhere() -> None:
    assert routes([Floating(7, (TWO,)), Floating(8, ())]).splitlines() == [
        "route replace 203.0.113.7/32 via 198.51.100.12",
        "route replace 2001:db8:f10a:7::1/128 via 2001:db8:ba4e::12",
        "route replace unreachable 203.0.113.8/32",
        "route replace unreachable 2001:db8:f10a:8::1/128",
    ]


def test_rules_let_only_holders_send() -> None:
    """In a move both may, for as long as it lasts."""
    text = rules([Floating(7, (ONE,)), Floating(7, (TWO,)), Floating(8, ())])
    assert "elements = { 203.0.113.7, 203.0.113.8 }" in text
    assert 'elements = { "vb-s1" . 203.0.113.7, "vb-s202" . 203.0.113.7 }' in text
    assert 'elements = { "vb-s1" . 2001:db8:f10a:7::1, "vb-s202" . 2001:db8:f10a:7::1 }' in text
    assert text.splitlines()[:2] == [
        "table bridge bakehouse_cloud",
        "delete table bridge bakehouse_cloud",
    ]


def test_rules_of_nothing_have_no_empty_list() -> None:
    """nft(8) refuses `elements = { }`."""
    assert "elements" not in rules([])


def test_floating_addresses_are_for_documentation() -> None:
    for number in (1, FLOATING):
        assert ip_address(Floating(number, ()).v4) in ip_network("203.0.113.0/24")
        assert ip_address(Floating(number, ()).v6) in ip_network("2001:db8::/32")


def test_numbers_and_places_are_not_taken_again(cloud: Cloud) -> None:
    first = new_record(cloud, "a", "image", "", 1)
    keep(cloud, first)
    second = new_record(cloud, "b", "image", "", 1)
    assert (first.number, first.place) == (1, 1)
    assert (second.number, second.place) == (2, 2)
    assert records(cloud) == [first]
    assert record(cloud, "s1") == first


def test_places_go_round_past_those_in_use(cloud: Cloud) -> None:
    keep(cloud, ONE)
    cloud.root.joinpath("counter").write_text(str(MACHINES))
    assert new_record(cloud, "b", "image", "", 1).place == 2


def test_a_full_cloud_says_so(cloud: Cloud) -> None:
    for number in range(1, MACHINES + 1):
        folder = cloud.folder(f"s{number}")
        folder.mkdir(parents=True)
        keep(cloud, replace(ONE, number=number, place=number))
    with pytest.raises(BakehouseError, match="full"):
        new_record(cloud, "b", "image", "", 1)


def test_an_unknown_server_is_told(cloud: Cloud) -> None:
    with pytest.raises(BakehouseError, match="no server s9"):
        record(cloud, "s9")


def test_a_damaged_file_is_told(cloud: Cloud) -> None:
    cloud.folder("s1").mkdir(parents=True)
    (cloud.folder("s1") / "server.json").write_text("{")
    with pytest.raises(BakehouseError, match="damaged"):
        records(cloud)


@pytest.mark.parametrize("good", ["a", "A1", "shop-lease-7", "a.b_c-d", "x" * 63])
def test_words(good: str) -> None:
    assert word(good, "a name") == good


@pytest.mark.parametrize("bad", ["", "-a", "a-", "a b", "../a", "a/b", "x" * 64, "a\n"])
def test_what_is_no_word(bad: str) -> None:
    with pytest.raises(UsageError):
        word(bad, "a name")


def test_a_label_may_be_empty_but_not_its_key() -> None:
    assert checked({"owner": ""}) == {"owner": ""}
    with pytest.raises(UsageError, match="key"):
        checked({"": "owner"})


def test_a_note_is_whole_and_made_once(cloud: Cloud) -> None:
    assert local_notes.make_note(cloud, "n1", {"a": "1"})
    assert not local_notes.make_note(cloud, "n1", {"a": "2"})
    assert local_notes.notes(cloud, "n") == [Note("n1", {"a": "1"})]
    assert [file.name for file in cloud.notes.iterdir()] == ["n1.json"]


def test_an_image_goes_when_no_server_boots_from_it(cloud: Cloud, tmp_path: Path) -> None:
    raw = tmp_path / "image.raw"
    raw.write_bytes(b"disk" * 1000)
    used, spare = "shop-0123456789ab", "shop-ba9876543210"
    for image in (used, spare, "shopping-0123456789ab"):
        local_servers.add_image(cloud, raw, image)
    keep(cloud, replace(ONE, image=used))
    assert {found.id for found in local_servers.images(cloud, "shop")} == {used, spare}
    with pytest.raises(BakehouseError, match=f"shop-1 boots from {used}"):
        local_servers.delete_image(cloud, used)
    local_servers.delete_image(cloud, spare)
    local_servers.delete_image(cloud, spare)
    assert [found.id for found in local_servers.images(cloud, "shop")] == [used]


def test_a_floating_ip_stays_while_a_server_has_it(cloud: Cloud) -> None:
    keep(cloud, ONE)
    write(cloud.floating / "hobby.json", {"number": 1, "server": "s1"})
    with pytest.raises(BakehouseError, match=r"hobby \(\d.*\) is at the server shop-1") as told:
        local_floating.delete(cloud, "hobby")
    assert "destroy the spec of that server first" in told.value.hint
    assert local_floating.holder(cloud, "hobby") == "s1"
