"""The provider for DigitalOcean against the emulated API, with servers on paper.

Whatever answer is lost, refused or late: the call ends as it should, and nothing is left over.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from images.home import Home
from images.providers.base import IMAGE, SPEC, Order
from images.providers.digitalocean import DigitalOcean
from images.providers.digitalocean_api import Api
from images.providers.digitalocean_notes import NOTE, public_key
from images.providers.waiting import Waiting
from specs.errors import BakehouseError, UsageError
from specs.model import Deploy
from specs.read import read
from tests.emulators import digitalocean as vendor
from tests.emulators.digitalocean_things import Key
from tests.emulators.faults import Fault
from tests.emulators.paper import Paper
from tests.emulators.served import Allowance

ROOT = Path(__file__).parents[2]
LABELS = {SPEC: "shop", "role": "standby", "generation": "2"}
ID = "shop-0123456789ab"
URL = "https://images.example.org/{image}.raw"
SHOP = replace(read(ROOT / "specs/hobby.yaml"), name="shop")
DEPLOY = Deploy(
    provider="digitalocean",
    locations=("fra1", "ams3"),
    server_types=("s-1vcpu-1gb", "s-2vcpu-4gb"),
    image_url=URL,
)


@dataclass(slots=True)
class Time:
    """Time that passes only while somebody waits."""

    now: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds
        threading.Event().wait(0.001)  # the emulator's own threads get their turn

    def clock(self) -> float:
        return self.now


@dataclass(slots=True)
class Account:
    """An account at the emulator, and our provider in front of it."""

    emulator: vendor.DigitalOcean[Paper]
    paper: Paper
    cloud: DigitalOcean
    time: Time
    make: Callable[..., DigitalOcean]

    def order(self, name: str = "shop-g2-e1") -> Order:
        return Order(name, self.cloud.image(Path("unused"), ID), "#cloud-config\n{}\n", LABELS)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    file = tmp_path / "image.raw"
    file.write_bytes(b"raw")
    paper, time = Paper(), Time()
    emulator = vendor.DigitalOcean(
        paper, internet={URL.replace("{image}", ID): file}, clock=time.clock
    )
    with emulator.serving() as url:

        def make(deploy: Deploy = DEPLOY) -> DigitalOcean:
            waiting = Waiting(time.sleep, time.clock, lambda: 0.5, patience=180)
            spec = replace(SHOP, deploy=deploy)
            return DigitalOcean(Home(tmp_path / "home"), Api("token", url, waiting), spec)

        yield Account(emulator, paper, make(), time, make)
        emulator.actions.await_all()
    assert not emulator.wrong()
    assert not emulator.wrong_answers()


def everything(account: Account) -> None:
    """Each thing that the provider can make, once, and used."""
    cloud = account.cloud
    cloud.create_floating_ip("shop")
    server = cloud.create_server(account.order())
    assert server.labels == LABELS
    assert server.status == "running"
    cloud.set_labels(server.id, {**LABELS, "role": "active"})
    assert cloud.servers("shop")[0].labels["role"] == "active"
    cloud.assign("shop", server.id)
    assert cloud.floating_ip("shop").server == server.id
    cloud.create_volume("shop-data", 64 << 20, {SPEC: "shop"})
    cloud.attach("shop-data", server.id)
    assert cloud.servers("shop")[0].volumes == ("shop-data",)
    cloud.power_off(server.id)
    cloud.power_off(server.id)
    assert cloud.servers("shop")[0].status == "off"
    cloud.power_on(server.id)
    assert cloud.make_note("shop-lease-1", {"owner": "a"})
    cloud.change_note("shop-lease-1", {"owner": "b"})
    assert not cloud.make_note("shop-lease-1", {"owner": "c"})
    cloud.detach("shop-data")
    cloud.assign("shop", "")


def remove(account: Account) -> None:
    """All of it again."""
    cloud = account.cloud
    for server in cloud.servers("shop"):
        cloud.delete_server(server.id)
        cloud.delete_server(server.id)
    cloud.delete_volume("shop-data")
    cloud.delete_note("shop-lease-1")
    cloud.delete_image(ID)
    cloud.delete_image(ID)
    cloud.forget("shop")
    cloud.forget("shop")


LEFT: dict[str, list[str]] = {
    "droplets": [],
    "volumes": [],
    "reserved": [],
    "images": [],
    "keys": ["bakehouse operator"],
    "tags": [],
    "firewalls": [],
}
"""What stays: the operator's key, since other specs may use it."""


def left(account: Account) -> dict[str, list[str]]:
    """What is in the account."""
    return account.emulator.left()


def test_all_is_made_once_and_removed(account: Account) -> None:
    everything(account)
    assert account.paper.made == ["shop-g2-e1"]
    remove(account)
    assert left(account) == LEFT


POSTS = (
    "/v2/account/keys",
    "/v2/droplets",
    "/v2/droplets/[0-9]+/actions",
    "/v2/firewalls",
    "/v2/images",
    "/v2/reserved_ips",
    "/v2/reserved_ips/[^/]+/actions",
    "/v2/tags",
    "/v2/tags/[^/]+/resources",
    "/v2/volumes",
    "/v2/volumes/[^/]+/actions",
)


@pytest.mark.parametrize("kind", ["lose", "down", "refuse"])
@pytest.mark.parametrize("path", POSTS)
def test_a_request_without_an_answer_is_done_once(account: Account, path: str, kind: str) -> None:
    """Every POST of its kind, the first and each later one, has its answer lost once."""
    fault = Fault(kind, "POST", path, status=503, times=1)  # type: ignore[arg-type]
    skips = [Fault(kind, "POST", path, status=503, skip=1) for _ in range(3)]  # type: ignore[arg-type]
    for one in (fault, *skips):
        account.emulator.faults.add(one)
    everything(account)
    assert fault.seen == 1
    assert account.paper.made == ["shop-g2-e1"]
    remove(account)
    account.emulator.faults.clear()
    assert left(account) == LEFT


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
def test_what_may_be_repeated_is(account: Account, method: str) -> None:
    for skip in range(0, 12, 2):
        account.emulator.faults.add(Fault("lose", method, skip=skip))
        account.emulator.faults.add(Fault("refuse", method, status=429, skip=skip))
    everything(account)
    remove(account)
    account.emulator.faults.clear()
    assert left(account) == LEFT


@pytest.mark.parametrize("status", [423, 429, 500, 502, 503, 504])
def test_a_busy_api_is_asked_again(account: Account, status: int) -> None:
    for skip in range(0, 40, 4):
        account.emulator.faults.add(Fault("refuse", status=status, code="busy", skip=skip))
    everything(account)
    remove(account)
    account.emulator.faults.clear()
    assert left(account) == LEFT


@pytest.mark.parametrize(
    "path", ["/v2/droplets/[0-9]+/actions", "/v2/reserved_ips/[^/]+/actions", "/v2/volumes/.*"]
)
def test_an_action_that_fails_is_begun_again(account: Account, path: str) -> None:
    fault = account.emulator.faults.add(Fault("fail", "POST", path, code="internal"))
    everything(account)
    assert fault.seen == 1


def test_a_pending_event_is_waited_for(account: Account) -> None:
    """A droplet that is being made refuses everything else meanwhile."""
    account.emulator.actions.delay = 8.0
    everything(account)
    assert [one.status for one in account.emulator.log].count(422)


def test_the_limit_of_requests_is_kept_to(account: Account) -> None:
    account.emulator.allowance = Allowance(3, 1.0, account.time.clock)
    everything(account)
    assert [one.status for one in account.emulator.log].count(429)


def test_an_api_that_stays_away_is_told_and_nothing_is_made(account: Account) -> None:
    account.emulator.faults.add(Fault("down", times=10_000))
    with pytest.raises(BakehouseError, match="did not answer") as told:
        account.cloud.servers("shop")
    assert told.value.hint
    assert account.time.now < 400
    account.emulator.faults.clear()
    assert account.emulator.left()["droplets"] == []


def test_a_revoked_token_is_told_without_being_shown(account: Account) -> None:
    account.cloud.create_floating_ip("shop")
    account.emulator.tokens.clear()
    with pytest.raises(BakehouseError, match="401") as told:
        account.cloud.create_server(account.order())
    assert "docs/digitalocean.md" in told.value.hint
    assert "token" not in told.value.message.replace("unable to authenticate", "")


def test_a_token_that_may_only_read(account: Account) -> None:
    account.emulator.tokens["token"] = "read"
    account.cloud.servers("shop")
    with pytest.raises(BakehouseError, match="403") as told:
        account.cloud.make_note("n", {})
    assert "scope" in told.value.hint


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


def test_a_run_that_died_while_it_reserved_an_address(account: Account) -> None:
    account.emulator.faults.add(Fault("down", "POST", "/v2/reserved_ips", times=10_000))
    with pytest.raises(BakehouseError):
        account.cloud.create_floating_ip("shop")
    account.emulator.faults.clear()
    assert account.cloud.floating_ip("shop").v4 == ""
    api = account.cloud.api
    api.once(api.client.reserved_ips.create, body={"region": "fra1"})
    with pytest.raises(BakehouseError, match=r"203\.0\.113\.1") as told:
        account.cloud.create_floating_ip("shop")
    assert "deploy.floating_ip" in told.value.hint
    api.ask(api.client.reserved_ips.delete, "203.0.113.1")
    assert account.cloud.create_floating_ip("shop").v4


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
    account.cloud.create_server(account.order())
    account.cloud.create_server(account.order("bakehouse-bake-shop-1"))
    api = account.cloud.api
    key = {"name": "bakehouse-bake-shop-2", "public_key": public_key(NOTE, "any")}
    api.once(api.client.ssh_keys.create, body=key)
    found = account.cloud.left_overs("bakehouse-bake-shop-")
    assert len(found) == 2
    for one in found:
        one.free()
        one.free()
    assert account.emulator.left()["droplets"] == ["shop-g2-e1"]
    assert not account.cloud.left_overs("bakehouse-bake-shop-")


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
