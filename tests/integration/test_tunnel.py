"""The tunnel where the servers have the floating IP by themselves, in both families."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from images.server import tunnel
from tests.integration.traffic import STALLED, Traffic, begin
from tests.integration.world import ADDRESS, FLOATING, World, kernel_state, opened

pytestmark = pytest.mark.root

TCP_REPAIR = 19  # linux/tcp.h


@pytest.fixture(scope="module")
def built() -> Iterator[World]:
    with opened(World) as made:
        yield made


@pytest.fixture
def world(built: World) -> World:
    built.reset()
    return built


@pytest.mark.parametrize("version", [4, 6])
def test_connections_in_flight_survive_the_move(world: World, version: int) -> None:
    traffic = begin(world)
    world.up(version=version)
    world.move("green")
    assert world.who(4) == world.who(6) == "green"
    traffic.moved.set()
    assert set(traffic.end().values()) == {"whole"}, traffic.ended
    counters = world.status("blue")["counters"]
    assert counters["answers"]["packets"] > 1000
    assert counters["refused"]["packets"] == 0


def test_the_move_may_fail_and_come_back(world: World) -> None:
    """Blue answers directly again as soon as packets come directly."""
    world.up()
    traffic = Traffic(world)
    traffic.start("two_way", traffic.two_way, 4)
    world.move("green")
    world.tunnel("blue", "moved")
    assert len(world.status("blue")["moved"]) == 2
    world.move("blue")
    traffic.moved.set()
    assert traffic.end() == {"two_way": "whole"}
    assert world.status("blue")["moved"] == [FLOATING[6]]


def test_a_connection_that_nobody_knows_is_refused_at_once(world: World) -> None:
    """As after a power cut of the server that knew it."""
    world.up()
    world.move("green")
    for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        with world.inside("client"), socket.socket(family) as made:
            made.settimeout(STALLED)
            made.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            made.connect((FLOATING[version], 80))  # without a packet (tcp(7) of CRIU)
            made.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
            with pytest.raises(ConnectionResetError):
                made.recv(1)
    assert world.status("blue")["counters"]["refused"]["packets"] == 2
    assert world.status("blue")["moved"] == []  # so whoever speaks into the tunnel turns nothing


def test_what_was_half_made_is_made_anew(world: World) -> None:
    world.up()
    world.run("blue", "ip", "link", "set", tunnel.LINK, "alias", "")
    world.ip("blue", "rule delete priority 4789")
    world.nft("blue", f"delete table ip {tunnel.TABLE}")
    assert world.status("blue") == {"up": False}
    traffic = Traffic(world)
    traffic.start("two_way", traffic.two_way, 4)
    world.up()
    world.move("green")
    traffic.moved.set()
    assert traffic.end() == {"two_way": "whole"}


def test_only_the_peer_speaks_into_it(world: World) -> None:
    world.up()
    frame = (
        bytes.fromhex("0800000000 12b500".replace(" ", "")) + b"\xff" * 12 + b"\x08\x00" + b"?" * 46
    )
    for place, heard in (("client", 0), ("green", 1)):
        with world.inside(place), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(frame, (ADDRESS["blue"][4], tunnel.PORT))
        shown = world.run("blue", "ip", "-j", "-s", "link", "show", "dev", tunnel.LINK).stdout
        assert json.loads(shown)[0]["stats64"]["rx"]["packets"] == heard


def test_what_cannot_work_is_refused_and_changes_nothing(world: World) -> None:
    state = kernel_state(world, "blue")
    for peer, why in (("192.0.2.2", "an address of this server"), ("203.0.113.300", "invalid")):
        words = ["up", "--peer", peer, "--floating", FLOATING[4]]
        result = world.tunnel("blue", *words, check=False)
        assert result.code != 0
        assert kernel_state(world, "blue") == state
        assert why in result.stderr


def test_a_strict_filter_is_refused(world: World) -> None:
    strict = "net.ipv4.conf.all.rp_filter"
    world.run("blue", "sysctl", "-qw", f"{strict}=1")
    try:
        words = ["up", "--peer", ADDRESS["green"][4], "--floating", FLOATING[4]]
        assert f"{strict} is 1" in world.tunnel("blue", *words, check=False).stderr
    finally:
        world.run("blue", "sysctl", "-qw", f"{strict}=2")
