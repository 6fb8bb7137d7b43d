"""What the provider for DigitalOcean asks of the API, and what of its answers it tells."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from images.packer.folder import temporary_names
from images.providers.base import IMAGE, SPEC, Order
from images.providers.digitalocean_notes import NOTE, public_key
from specs.errors import BakehouseError, UsageError
from specs.model import Deploy
from tests.emulators.digitalocean_things import Key
from tests.emulators.faults import Fault
from tests.integration.account import (
    DEPLOY,
    ID,
    LABELS,
    ROOT,
    SHOP,
    Account,
    everything,
    opened,
    remove,
)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with opened(tmp_path) as found:
        yield found


def test_sizes_and_regions_are_tried_in_order(account: Account) -> None:
    account.emulator.full |= {("fra1", "s-1vcpu-1gb")}
    account.cloud.create_floating_ip("shop")
    account.cloud.create_server(account.order())
    [made] = account.emulator.droplets.all.values()
    assert (made.region, made.size) == ("fra1", "s-2vcpu-4gb")


def test_the_address_is_reserved_where_there_is_room(account: Account) -> None:
    account.emulator.full |= {("fra1", "s-1vcpu-1gb"), ("fra1", "s-2vcpu-4gb")}
    account.cloud.create_floating_ip("shop")
    account.cloud.create_server(account.order())
    [made] = account.emulator.droplets.all.values()
    assert (made.region, made.size) == ("ams3", "s-1vcpu-1gb")


def test_no_room_at_all_is_told_and_nothing_is_left(account: Account) -> None:
    account.cloud.create_floating_ip("shop")
    order = account.order()
    account.emulator.full |= {("fra1", "s-1vcpu-1gb"), ("fra1", "s-2vcpu-4gb")}
    with pytest.raises(BakehouseError, match="has none of these now") as told:
        account.cloud.create_server(order)
    assert "deploy.server_types" in told.value.hint
    assert not account.emulator.droplets.all


def test_another_s_server_of_the_same_name_is_left_alone(account: Account) -> None:
    """Names are not unique at DigitalOcean, and the account may have other users."""
    account.cloud.create_floating_ip("shop")
    order = account.order()
    body = {"name": order.name, "size": "s-1vcpu-1gb", "image": "debian-13-x64", "region": "fra1"}
    account.cloud.api.once(account.cloud.api.client.droplets.create, body=body)
    ours = account.cloud.create_server(order)
    assert [one.id for one in account.cloud.servers("shop")] == [ours.id]
    account.cloud.delete_server(ours.id)
    assert account.emulator.left()["droplets"] == [order.name]


def test_two_that_make_a_note_at_once(account: Account) -> None:
    """Even where the vendor took both, one of them has it."""
    api = account.cloud.api
    won: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda n=n: won.append(account.make().make_note("shop-lease-1", {"owner": n}))
        )
        for n in ("a", "b", "c", "d")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False, False, False, True]
    assert len(api.pages(api.client.ssh_keys.list, "ssh_keys")) == 1


def test_an_address_may_be_named_itself(account: Account) -> None:
    api = account.cloud.api
    api.once(api.client.reserved_ips.create, body={"region": "ams3"})
    assert account.cloud.create_floating_ip("203.0.113.1").v4 == "203.0.113.1"
    server = account.cloud.create_server(account.order())
    account.cloud.assign("203.0.113.1", server.id)
    [made] = account.emulator.droplets.all.values()
    assert made.region == "ams3"
    with pytest.raises(BakehouseError, match="not in this account"):
        account.cloud.create_floating_ip("203.0.113.77")


def test_an_address_that_another_specs_server_has_is_not_given_back(account: Account) -> None:
    ip = account.cloud.create_floating_ip("shop")
    order = replace(account.order("web-g1-e1"), labels={SPEC: "web"})
    server = account.cloud.create_server(order)
    account.cloud.assign("shop", server.id)
    with pytest.raises(BakehouseError, match=rf"shop \({ip.v4}\) is at the server web-g1") as told:
        account.cloud.forget("shop")
    assert f"deploy.floating_ip: {ip.v4}" in told.value.hint
    assert account.cloud.floating_ip("shop").server == server.id
    account.make(replace(DEPLOY, floating_ip=ip.v4)).forget("shop")
    assert account.cloud.floating_ip("shop").server == server.id
    account.cloud.assign("shop", "")
    account.cloud.forget("shop")
    assert account.cloud.floating_ip("shop").v4 == ""


def test_the_limit_of_reserved_addresses_is_told(account: Account) -> None:
    account.emulator.most_reserved = 0
    with pytest.raises(BakehouseError, match="limit of reserved IPs"):
        account.cloud.create_floating_ip("shop")


def test_an_image_that_the_vendor_cannot_fetch(account: Account) -> None:
    with pytest.raises(BakehouseError, match="could not be downloaded") as told:
        account.cloud.image(Path("unused"), "shop-ffffffffffff")
    assert "HEAD" in told.value.hint
    assert not account.emulator.left()["images"]


def test_an_image_is_brought_to_the_region(account: Account) -> None:
    handle = account.cloud.image(Path("unused"), ID)
    api = account.cloud.api
    api.once(api.client.reserved_ips.create, body={"region": "ams3"})
    account.cloud.create_floating_ip("203.0.113.1")
    assert account.cloud.image(Path("unused"), ID) == handle
    assert account.emulator.images.all[int(handle)].regions == ["fra1", "ams3"]
    [stored] = account.cloud.images("shop")
    assert (stored.id, stored.handle) == (ID, handle)
    assert stored.labels == {SPEC: "shop", IMAGE: ID}


def test_an_image_from_nowhere(account: Account) -> None:
    cloud = account.make(Deploy(locations=("fra1",), server_types=("s-1vcpu-1gb",)))
    with pytest.raises(BakehouseError, match="has no image") as told:
        cloud.image(Path("unused"), ID)
    assert "build-image --provider digitalocean" in told.value.hint


def test_what_the_spec_leaves_open_is_asked_for(account: Account) -> None:
    with pytest.raises(UsageError, match=r"deploy\.server_types"):
        account.make(Deploy(locations=("fra1",))).create_server(Order("n", "1", "", LABELS))
    with pytest.raises(UsageError, match=r"deploy\.locations"):
        account.make(Deploy(server_types=("x",))).create_volume("n", 1, {})


def test_the_base_image(account: Account) -> None:
    assert account.cloud.base_image("trixie", "amd64").name == "debian-13-x64"
    with pytest.raises(BakehouseError, match="arm64"):
        account.cloud.base_image("trixie", "arm64")


def test_long_lists_have_pages(account: Account) -> None:
    for number in range(450):
        name = f"shop-lease-{number}"
        key = Key(number, f"bakehouse-note {name} owner=a by=b", public_key(NOTE, name))
        account.emulator.keys.all[number] = key
    assert len(account.cloud.notes("shop-")) == 450


def test_the_firewall_follows_the_spec(account: Account) -> None:
    """What the image's own filter opens, nothing else; the spec's servers reach each other."""
    account.cloud.create_server(account.order())
    [made] = account.emulator.firewalls.all.values()
    world = [
        (rule["protocol"], rule.get("ports"))
        for rule in made["inbound_rules"]
        if "addresses" in rule["sources"]
    ]
    assert world == [("icmp", "0"), ("tcp", "22"), ("tcp", "80"), ("tcp", "443")]
    assert made["tags"] == ["bakehouse:spec:shop"]
    again = account.make()
    again.spec = replace(SHOP, ssh=replace(SHOP.ssh, port=2222), deploy=DEPLOY)
    again.create_server(account.order("shop-g3-e2"))
    [made] = account.emulator.firewalls.all.values()
    assert "2222" in [rule.get("ports") for rule in made["inbound_rules"]]
    puts = [one for one in account.emulator.log if one.method == "PUT"]
    again.create_server(account.order("shop-g4-e3"))
    assert [one for one in account.emulator.log if one.method == "PUT"] == puts


def test_what_dead_builds_left_is_found_and_freed(account: Account) -> None:
    """Also a snapshot that was given no labels, and nothing that is somebody else's."""
    cloud, api, name = account.cloud, account.cloud.api, "shop-00000000000a"
    account.cloud.create_server(account.order())
    cloud.create_server(account.order("bakehouse-bake-shop-staging"))
    made = cloud.create_server(account.order("bakehouse-bake-shop"))
    cloud.power_off(made.id)
    body = {"type": "snapshot", "name": name}
    api.finish(api.once(api.client.droplet_actions.post, int(made.id), body=body))
    found = cloud.left_overs(temporary_names("shop"))
    assert [one.what for one in found] == ["the droplet bakehouse-bake-shop", f"the image {name}"]
    for one in found:
        one.free()
        one.free()
    left = account.emulator.left()
    assert sorted(left["droplets"]) == ["bakehouse-bake-shop-staging", "shop-g2-e1"]
    assert left["images"] == [ID]
    assert not cloud.left_overs(temporary_names("shop"))


def test_the_guide_lists_the_scopes_that_are_needed(account: Account) -> None:
    """Those that the vendor's document asks for what was asked here, and no others."""
    account.emulator.actions.delay = 2.0
    account.emulator.faults.add(Fault("lose", "POST", "/v2/tags"))
    everything(account)
    account.cloud.base_image("trixie", "amd64")
    again = account.make()
    again.spec = replace(SHOP, ssh=replace(SHOP.ssh, port=2222), deploy=DEPLOY)
    again.create_server(account.order("shop-g3-e2"))
    account.emulator.images.all[int(account.order().image)].regions.clear()
    account.cloud.image(Path("unused"), ID)
    account.cloud.delete_server(account.cloud.servers("shop")[-1].id)
    remove(account)
    needed = set()
    for one in account.emulator.log:
        found = account.emulator.document.operation(one.method, one.path)
        assert found is not None
        needed |= {word for each in found.described["security"] for word in each["bearer_auth"]}
    text = (ROOT / "docs/digitalocean.md").read_text(encoding="utf-8")
    table = text.partition("| scope | for |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+:[a-z]+)`", table)) == needed - {"api:read", "api:write"}
