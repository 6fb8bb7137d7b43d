"""Hetzner without Hetzner: errors in our words, rules from the spec, how long is waited."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hcloud import APIException

from images.providers.hetzner_api import Api, ElsewhereError, passing, told
from images.providers.hetzner_floating import floating_ip
from images.providers.hetzner_network import firewall, network, rules
from images.providers.offer import offer
from images.providers.waiting import Waiting
from specs.errors import BakehouseError, UsageError
from specs.model import Deploy, Firewall, Rule, Spec
from tests.unit.images.wire import Answer, wired


@dataclass
class Clock:
    """Time that passes by sleeping alone."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def waiting(self, patience: float) -> Waiting:
        return Waiting(self.sleep, lambda: self.now, lambda: 0.0, patience, 1.0, 8.0)


def refused(code: str | int, message: str = "it cannot be") -> APIException:
    return APIException(code, message, None)


def test_pauses_grow_to_their_limit_and_end_with_patience() -> None:
    clock = Clock()
    assert list(clock.waiting(30).pauses()) == [1, 2, 3, 4, 5, 6]
    assert clock.slept == [1, 2, 4, 8, 8]


def test_an_attempt_is_repeated_until_patience_is_over() -> None:
    clock, asked = Clock(), []

    def attempt() -> None:
        asked.append(clock.now)
        raise refused("locked")

    with pytest.raises(BakehouseError, match=r"did not do it within 30 s: .*\(locked\)"):
        Api("secret-token", waiting=clock.waiting(30)).repeat("do it", attempt)
    assert asked == [0, 1, 3, 7, 15, 23]


def test_what_does_not_pass_is_told_at_once() -> None:
    def attempt() -> None:
        raise refused("unauthorized")

    clock = Clock()
    with pytest.raises(BakehouseError, match="do it: Hetzner says: it cannot be") as error:
        Api("secret-token", waiting=clock.waiting(30)).repeat("do it", attempt)
    assert clock.slept == []
    assert "HCLOUD_TOKEN" in error.value.hint


def test_the_token_is_not_shown() -> None:
    assert "secret-token" not in repr(Api("secret-token"))


@pytest.mark.parametrize("code", ["locked", "conflict", "rate_limit_exceeded", 503, 429])
def test_errors_that_pass(code: str | int) -> None:
    assert passing(refused(code))


@pytest.mark.parametrize("code", ["uniqueness_error", "not_found", "protected", 401, 404])
def test_errors_that_stay(code: str | int) -> None:
    assert not passing(refused(code))


def test_no_room_is_an_error_of_its_own() -> None:
    assert isinstance(told("x", refused("resource_unavailable")), ElsewhereError)
    assert not isinstance(told("x", refused("resource_limit_exceeded")), ElsewhereError)


@pytest.mark.parametrize(
    ("message", "elsewhere"),
    [
        ("unsupported location for server type", True),
        ("server type unavailable in this location", True),
        ("server type 104 is deprecated", True),
        ("server type 'cx22' not found", True),
        ("location 'fsn9' not found", False),
        ("invalid input in field 'user_data'", False),
    ],
)
def test_a_type_that_is_not_sold_there_is_no_room(message: str, elsewhere: bool) -> None:
    assert isinstance(told("x", refused("invalid_input", message)), ElsewhereError) is elsewhere


def test_the_firewall_opens_what_the_image_opens() -> None:
    allowed = (Rule(8443, sources=("192.0.2.7/24", "2001:db8::/32")), Rule(514, "udp"))
    found = rules(Spec(name="shop", firewall=Firewall(allowed)))
    assert [(rule.protocol, rule.port) for rule in found] == [
        ("icmp", None),
        ("tcp", "22"),
        ("udp", "514"),
        ("tcp", "8443"),
    ]
    assert found[-1].source_ips == ["192.0.2.0/24", "2001:db8::/32"]
    assert found[-2].source_ips == ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(
    ("deploy", "missing"),
    [(Deploy(server_types=("cx23",)), "locations"), (Deploy(locations=("fsn1",)), "server_types")],
)
def test_where_servers_are_made_must_be_said(deploy: Deploy, missing: str) -> None:
    with pytest.raises(UsageError, match=f"deploy.{missing} is empty"):
        offer(deploy)


def test_the_floating_ip_is_where_both_families_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it moved is no end of a swap."""

    def at(v4: int | None, v6: int | None) -> str:
        both = [
            {"id": 1, "name": "shop", "type": "ipv4", "ip": "203.0.113.1", "server": v4},
            {"id": 2, "name": "shop-v6", "type": "ipv6", "ip": "2001:db8::/64", "server": v6},
        ]
        wire.answers = {"GET /v1/floating_ips": [(200, {"floating_ips": both})]}
        return floating_ip(Api("token"), "shop").server

    wire = wired(monkeypatch)
    assert (at(7, 7), at(None, None), at(7, 8), at(7, None)) == ("7", "", "", "")


def test_what_only_has_the_specs_name_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rules would be replaced, and its servers opened to ours."""
    theirs = {"id": 1, "name": "shop", "labels": {"team": "other"}, "rules": []}
    answer: list[Answer] = [(200, {"networks": [theirs], "firewalls": [theirs]})]
    wired(monkeypatch).answers = {"GET /v1/networks": answer, "GET /v1/firewalls": answer}
    with pytest.raises(BakehouseError, match="the network shop at Hetzner is not ours"):
        network(Api("token"), "shop", "fsn1")
    with pytest.raises(BakehouseError, match="the firewall shop at Hetzner is not ours"):
        firewall(Api("token"), Spec("shop"))
