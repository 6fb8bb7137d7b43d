"""What is taken for a description of the peer, how the two meet, and where the tunnel leads."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
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
        {"address": "198.51.100.12\n  ProxyCommand x"},
        {"name": "a b"},
        {"ports": {"shop": [22]}},
        {"ports": [1]},
        {"host_key": ""},
        {"public": f"{KEY}\n{KEY}"},
        {"public": f"command=x {KEY}"},
    ],
)
def test_what_could_mean_more_than_it_says_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProgramError, match="describes no peer"):
        peer.checked({**CARD, **wrong})


def test_meeting_reads_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{"))
    with pytest.raises(ProgramError, match="no JSON"):
        peer.meet()


def test_a_tunnel_to_a_peer_that_stays_away_is_tried_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = tmp_path / "tries"
    monkeypatch.setattr(peer, "TRIES", tries)
    assert [peer.rest() for _ in range(peer.QUICK + 2)] == [0] * peer.QUICK + [peer.REST] * 2
    long_ago = time.time() - peer.TOGETHER - 1  # it held for a while
    os.utime(tries, (long_ago, long_ago))
    assert peer.rest() == 0
    tries.write_text("")  # as a killed attempt leaves it
    assert peer.rest() == 0


def test_meeting_again_keeps_an_open_tunnel_and_hastens_one_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    for name in ("KNOWN", "CONFIG", "RULES", "LET_IN", "CARD", "TRIES", "POSTGRES"):
        monkeypatch.setattr(peer, name, tmp_path / name)
    monkeypatch.setattr(peer, "make_key", lambda: None)
    monkeypatch.setattr(peer, "own_ports", dict)
    monkeypatch.setattr("images.server.peer.subprocess.run", lambda words, check: ran.append(words))

    def meet() -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CARD)))
        peer.meet()
        return ran[-1][2]

    assert meet() == "restart"
    peer.POSTGRES.touch()
    assert meet() == "start"
    peer.POSTGRES.unlink()
    peer.TRIES.write_text("99")
    assert meet() == "restart"
    assert not peer.TRIES.exists()


def test_the_tunnel_leads_each_replica_to_one_of_the_same_app() -> None:
    card = {"ports": {"shop": [20020], "gone": [20040]}}
    words = peer.tunnel_command(card, {"shop": [20000, 20001], "new": [20020]}, Path("/given"))
    assert [word for word in words if word.startswith("-L127")] == [
        "-L127.0.0.1:30000:127.0.0.1:20020",
        "-L127.0.0.1:30001:127.0.0.1:20020",
    ]
    assert words[-1] == "peer"
