"""What is taken for a description of the peer, and what the packet filter learns of it."""

from __future__ import annotations

from typing import Any

import pytest

from images.server import peer
from images.server.state import ProgramError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEh1/F8YX2Tm6N5GvGQaDxob00sSBfx5+j9dMuERZR8u"
CARD: dict[str, Any] = {
    "name": "hobby-2",
    "address": "10.0.0.3",
    "port": 2222,
    "public": KEY,
    "host_key": KEY,
    "ports": {"shop": [20000]},
}


@pytest.mark.parametrize(
    ("address", "element"),
    [("10.0.0.3", "peer_ssh4 { 10.0.0.3 . 22 }"), ("fd00::3", "peer_ssh6 { fd00::3 . 22 }")],
)
def test_one_place_alone_is_reached(address: str, element: str) -> None:
    """What was there before goes in the same step, in both families."""
    assert peer.rules(address, 22).splitlines() == [
        "flush set inet bakehouse peer_ssh4",
        "flush set inet bakehouse peer_ssh6",
        f"add element inet bakehouse {element}",
    ]


def test_a_description() -> None:
    assert peer.checked({**CARD, "more": 1}) == CARD


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "fe80::1%eth0 }; flush ruleset"},
        {"address": "peer.example.org"},
        {"port": 0},
        {"ports": {"shop": [22]}},
        {"public": f"{KEY}\n{KEY}"},
    ],
)
def test_what_could_mean_more_than_it_says_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProgramError, match="describes no peer"):
        peer.checked({**CARD, **wrong})
