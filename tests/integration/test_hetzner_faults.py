"""What goes wrong at Hetzner: nothing is made twice, nothing is left, and the error says why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from images.home import Home
from images.providers.base import IMAGE, SPEC, Order, Server
from images.providers.hetzner import Hetzner as Provider
from images.providers.hetzner_api import Api, ElsewhereError
from images.providers.waiting import Waiting
from specs.errors import BakehouseError
from specs.model import Deploy, Spec
from tests.emulators.faults import Fault
from tests.emulators.hetzner import Hetzner, hetzner
from tests.emulators.served import Allowance
from tests.emulators.small import small_tree

pytestmark = pytest.mark.root

SPEC_NAME = "shop"
LABELS = {SPEC: SPEC_NAME}
DEPLOY = Deploy(provider="hetzner", locations=("fsn1", "nbg1"), server_types=("cx23", "cx33"))
PATIENT = Waiting(first=0.01, longest=0.1, patience=20)
SOON = Waiting(first=0.01, longest=0.05, patience=0.3)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hetzner]:
    """One project for all tests of this file; actions take a moment."""
    tree = small_tree(tmp_path_factory.mktemp("small"))
    with hetzner(Home(tmp_path_factory.mktemp("cloud")), delay=0.05) as found:
        found.add_image(tree, labels={**LABELS, IMAGE: "small"})
        yield found
        assert not found.wrong()
        assert not found.wrong_answers()


@pytest.fixture
def clean(cloud: Hetzner) -> Iterator[Hetzner]:
    """Well again, and empty but for the image, before and after each test."""
    yield cloud
    cloud.faults.clear()
    cloud.allowance = Allowance(3600, 1.0)
    cloud.tokens = {"token": "write"}
    cloud.servers.nowhere.clear()
    cloud.servers.kind.limit = 10
    sweep(cloud)


def sweep(cloud: Hetzner) -> None:
    """Delete all that a test made, by the provider itself."""
    cloud.actions.await_all()
    own = provider(cloud)
    for server in own.servers(SPEC_NAME):
        own.delete_server(server.id)
    for volume in own.volumes(SPEC_NAME):
        own.delete_volume(volume.name)
    for note in own.notes(""):
        own.delete_note(note.name)
    for kind in (cloud.addresses.kind, cloud.networks.kind, cloud.networks.firewalls):
        kind.things.clear()


def provider(cloud: Hetzner, waiting: Waiting = PATIENT, token: str = "token") -> Provider:
    """An operator's."""
    spec = Spec(name=SPEC_NAME, deploy=DEPLOY)
    return Provider(Home(cloud.machines.cloud.root), Api(token, cloud.url, waiting), spec)


def order(own: Provider, name: str = "shop-1") -> Order:
    return Order(name, own.image(Path("none"), "small"), "#cloud-config\n", LABELS)


def only(own: Provider) -> Server:
    """The one server."""
    (found,) = own.servers(SPEC_NAME)
    return found


def make_server(own: Provider) -> None:
    made = own.create_server(order(own))
    assert only(own) == made
    assert made.status == "running"


def make_note(own: Provider) -> None:
    assert own.make_note("shop-lease-1", {"owner": "us"})
    assert [note.labels for note in own.notes("shop-")] == [{"owner": "us"}]


def change_note(own: Provider) -> None:
    if not own.notes("shop-lease-2"):
        own.make_note("shop-lease-2", {"state": "held"})
    own.change_note("shop-lease-2", {"state": "released"})
    assert own.notes("shop-lease-2")[0].labels == {"state": "released"}
    own.delete_note("shop-lease-2")
    assert not own.notes("shop-lease-2")


def make_address(own: Provider) -> None:
    made = own.create_floating_ip("shop")
    assert made.v4
    assert made.v6
    assert own.floating_ip("shop") == made


def move_address(own: Provider) -> None:
    server = own.create_server(order(own))
    own.create_floating_ip("shop")
    own.assign("shop", server.id)
    assert own.floating_ip("shop").server == server.id
    own.assign("shop", "")
    assert own.floating_ip("shop").server == ""


def use_volume(own: Provider) -> None:
    server = own.create_server(order(own))
    own.create_volume("shop-data", 1 << 30, LABELS)
    own.attach("shop-data", server.id)
    assert only(own).volumes == ("shop-data",)
    own.detach("shop-data")
    assert [volume.server for volume in own.volumes(SPEC_NAME)] == [""]
    own.delete_volume("shop-data")
    assert not own.volumes(SPEC_NAME)


def use_power(own: Provider) -> None:
    server = own.create_server(order(own))
    own.power_off(server.id)
    assert only(own).status == "off"
    own.power_on(server.id)
    assert only(own).status == "running"
    own.set_labels(server.id, {**LABELS, "role": "active"})
    assert only(own).labels == {**LABELS, "role": "active"}
    own.delete_server(server.id)
    assert not own.servers(SPEC_NAME)


Deed = Callable[[Provider], None]
DEEDS = {
    deed.__name__: deed
    for deed in (
        make_server,
        make_note,
        change_note,
        make_address,
        move_address,
        use_volume,
        use_power,
    )
}


@dataclass(frozen=True)
class Wrong:
    """A fault that happens to each changing request of a deed in its turn."""

    kind: str
    status: int = 500
    code: str = ""


WRONG = (
    Wrong("down"),
    Wrong("refuse", 423, "locked"),
    Wrong("refuse", 409, "conflict"),
    Wrong("refuse", 429, "rate_limit_exceeded"),
    Wrong("refuse", 500, "server_error"),
    Wrong("refuse", 503, "unavailable"),
    Wrong("fail", 500, "server_error"),
)


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_what_is_not_answered_is_done_once(clean: Hetzner, deed: Deed) -> None:
    each_in_turn(clean, deed, Wrong("lose"))


@pytest.mark.full
@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: f"{one.kind}-{one.code or 'silence'}")
@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_what_goes_wrong_once_is_done_once(clean: Hetzner, deed: Deed, wrong: Wrong) -> None:
    each_in_turn(clean, deed, wrong)


def each_in_turn(clean: Hetzner, deed: Deed, wrong: Wrong) -> None:
    """Each changing request of a deed in its turn: the first one, the second, to the last."""
    turn, met = 0, True
    while met:
        fault = clean.faults.add(
            Fault(wrong.kind, "POST|PUT|DELETE", status=wrong.status, code=wrong.code, skip=turn)  # type: ignore[arg-type]
        )
        deed(provider(clean))
        met = fault.seen > 0
        turn += 1
        for kind in (clean.servers.kind, clean.volumes.kind, clean.groups):
            assert len(kind.things) <= 1
        assert len(clean.addresses.kind.things) in (0, 2)
        clean.faults.clear()
        sweep(clean)
    assert turn > 1


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_an_api_that_is_down_is_told(clean: Hetzner, deed: Deed) -> None:
    clean.faults.add(Fault("down", times=10_000))
    with pytest.raises(BakehouseError, match="did not do it within") as told:
        deed(provider(clean, SOON))
    assert "status page" in told.value.hint
    clean.faults.clear()
    assert set(clean.left().values()) <= {0, 1}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_a_token_that_is_revoked_halfway(clean: Hetzner, deed: Deed) -> None:
    """After each number of requests; the error says what to do, and not the token."""
    for allowed in range(4):
        seen = threading.Semaphore(allowed)
        with revoked(clean, seen), pytest.raises(BakehouseError) as told:
            while True:
                deed(provider(clean))
        assert "HCLOUD_TOKEN" in told.value.hint
        assert "revoked-token" not in f"{told.value} {told.value.hint}"
        clean.tokens = {"token": "write"}
        sweep(clean)


@contextmanager
def revoked(cloud: Hetzner, left: threading.Semaphore) -> Iterator[None]:
    """The token is good for so many requests."""
    before = cloud.faults.meet

    def count(method: str, path: str) -> Fault | None:
        if not left.acquire(blocking=False):
            cloud.tokens.clear()
        return before(method, path)

    cloud.faults = Counting(cloud.faults, count)  # type: ignore[assignment]
    try:
        yield
    finally:
        cloud.faults = cloud.faults.real  # type: ignore[attr-defined]


@dataclass
class Counting:
    """Faults that are asked about by somebody who counts."""

    real: object
    meet: Callable[[str, str], Fault | None]

    def clear(self) -> None:
        """None are waiting."""


def test_a_token_that_may_only_read(clean: Hetzner) -> None:
    clean.tokens["reader"] = "read"
    with pytest.raises(BakehouseError, match="token_readonly") as told:
        provider(clean, token="reader").make_note("shop-lease-1", {})
    assert "Read & Write" in told.value.hint


def test_where_there_is_no_room_the_next_place_is_tried(clean: Hetzner) -> None:
    own = provider(clean)
    clean.servers.nowhere |= {("cx23", "fsn1"), ("cx23", "nbg1")}
    own.create_server(order(own))
    (thing,) = clean.servers.kind.things.values()
    assert (thing.shown["server_type"]["name"], thing.hidden["location"]) == ("cx33", "fsn1")


def test_a_place_that_is_full_after_all(clean: Hetzner) -> None:
    """The order is taken, and then there is no room: that server goes, the next place is tried."""
    own = provider(clean)
    clean.faults.add(Fault("fail", "POST", "/servers", code="resource_unavailable"))
    own.create_server(order(own))
    (thing,) = clean.servers.kind.things.values()
    assert thing.hidden["location"] == "nbg1"


def test_no_room_anywhere_is_told(clean: Hetzner) -> None:
    own = provider(clean)
    clean.servers.nowhere |= {(t, p) for t in DEPLOY.server_types for p in DEPLOY.locations}
    with pytest.raises(ElsewhereError, match="no room for shop-1") as told:
        own.create_server(order(own))
    assert "deploy.locations" in told.value.hint
    assert not own.servers(SPEC_NAME)


def test_a_quota_is_told(clean: Hetzner) -> None:
    own = provider(clean)
    clean.servers.kind.limit = 0
    with pytest.raises(BakehouseError, match="limit exceeded") as told:
        own.create_server(order(own))
    assert "invoke gc" in told.value.hint


def test_an_image_that_is_not_there_is_told(clean: Hetzner) -> None:
    with pytest.raises(BakehouseError, match="no snapshot of the image shop-0") as told:
        provider(clean).image(Path("none"), "shop-0")
    assert "build-image --provider hetzner" in told.value.hint


def test_an_allowance_that_is_used_up_is_waited_for(clean: Hetzner) -> None:
    clean.allowance = Allowance(2, 20.0)
    make_note(provider(clean))
    change_note(provider(clean))
    clean.allowance = Allowance(0, 0.0)
    with pytest.raises(BakehouseError, match="rate_limit_exceeded"):
        provider(clean, SOON).notes("")


def test_two_who_take_a_note_at_once(clean: Hetzner) -> None:
    """One of them has it, whoever else tries."""
    got: list[str] = []

    def take(who: str) -> None:
        if provider(clean).make_note("shop-lease-9", {"owner": who}):
            got.append(who)

    threads = [threading.Thread(target=take, args=(f"n{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (note,) = provider(clean).notes("shop-lease-9")
    assert got == [note.labels["owner"]]


def test_the_firewall_follows_the_spec(clean: Hetzner) -> None:
    own = provider(clean)
    own.create_server(order(own))
    (rules,) = [thing.shown["rules"] for thing in clean.networks.firewalls.things.values()]
    assert {(rule["protocol"], rule["port"]) for rule in rules} == {("icmp", None), ("tcp", "22")}
    (server,) = clean.servers.kind.things.values()
    assert server.hidden["firewalls"]
    assert only(own).private.startswith("10.131.")
