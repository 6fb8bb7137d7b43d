"""The tunnel where the cloud translates the floating IP to another address of each server.

The servers' own addresses are reached directly as well, as at DigitalOcean. The router keeps which
connections came by the floating IP, and drops answers to them that are not from its holder.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar, Final

import pytest

from images.server import arrival
from tests.integration.test_tunnel import (
    ADDRESS,
    FLOATING,
    KINDS,
    PUBLISHED,
    STALLED,
    Traffic,
    World,
    built,
    kernel_state,
    rules,
)

pytestmark = pytest.mark.root

__all__ = ["built", "rules"]

TABLE: Final = """
add table ip translation
add set ip translation came {{
  type ipv4_addr . inet_service . inet_service . ipv4_addr
  flags dynamic
  size 65535
}}
delete chain ip translation arriving
delete chain ip translation inward
table ip translation {{
  chain inward {{
    ip daddr set {target}
    meta l4proto tcp update @came {{ ip saddr . th sport . th dport . ip daddr }}
  }}
  chain arriving {{
    type filter hook prerouting priority -350; policy accept;
    iifname "client" ip daddr {floating} goto inward
    {ours} iifname "{holder}" ip saddr set {floating} accept
    {ours} drop
  }}
}}
"""


ANCHOR: Final = {"blue": "10.19.0.5", "green": "10.19.0.6"}
KEPT: Final = "meta l4proto tcp ip daddr . th dport . th sport . ip saddr @came"


class Translating(World):
    """A world with the router of such a cloud: `at` has each server's address where the IP arrives,
    and `ours` tells what the router takes for an answer of the floating IP."""

    at: ClassVar = {name: ADDRESS[name][4] for name in ANCHOR}
    ours = KEPT

    def up(self, version: int = 4) -> None:
        """The tunnel on both."""
        for server, peer in (("green", "blue"), ("blue", "green")):
            words = ["--peer", ADDRESS[peer][version], "--floating", FLOATING[4]]
            self.tunnel(server, "up", *words, "--translated", self.at[server])

    def move(self, server: str) -> None:
        """The floating IP to a server; from now on only that one answers for it."""
        words = {"holder": server, "target": self.at[server], "floating": FLOATING[4]}
        script = TABLE.format(**words, ours=self.ours)
        if self.run("cloud", "nft", "list", "table", "ip", "translation", check=False).code:
            script = "\n".join(line for line in script.splitlines() if line[:7] != "delete ")
        self.nft("cloud", script)

    def direct(self, server: str, request: str) -> socket.socket:
        """A connection to a server's own address."""
        with self.inside("client"):
            made = socket.create_connection((ADDRESS[server][4], 80), timeout=STALLED)
        made.sendall(f"{request}\n".encode())
        return made


class Anchored(Translating):
    """Each server has an address to which nothing else comes, so the router keeps nothing."""

    at = ANCHOR
    ours = f"ip saddr {{ {', '.join(ANCHOR.values())} }}"


@pytest.fixture(scope="module", params=[Translating, Anchored])
def translated(request: pytest.FixtureRequest, built: World) -> Iterator[Translating]:
    for server, address in ANCHOR.items():
        built.run(server, "ip", "address", "replace", f"{address}/16", "dev", "eth0")
        built.ip("cloud", f"route replace {address} dev {server}")
    made: Translating = request.param(built.name)
    yield made
    built.run("cloud", "nft", "delete", "table", "ip", "translation")


@pytest.fixture
def world(translated: Translating) -> Translating:
    """Blue has the floating IP, and there is no tunnel."""
    for server in ("blue", "green"):
        translated.tunnel(server, "down")
    translated.move("blue")
    return translated


def begin(world: World) -> Traffic:
    """Every kind of connection, and each to a container, too."""
    traffic = Traffic(world)
    for kind in KINDS:
        traffic.start(kind, getattr(traffic, kind), 4)
        traffic.start(f"{kind} published", getattr(traffic, kind), 4, PUBLISHED)
    return traffic


@pytest.mark.parametrize("told", [False, True])
def test_connections_in_flight_survive_the_move(world: Translating, told: bool) -> None:
    """But those on which only the server speaks: without an anchor address the router learns of
    them by what comes in, and lets nothing out before."""
    traffic = begin(world)
    world.up()
    world.move("green")
    assert world.who(4) == "green"
    if told:
        world.tunnel("blue", "moved")
    traffic.moved.set()
    cut = {name for name, how in traffic.end().items() if how != "whole"}
    assert cut <= (set() if isinstance(world, Anchored) else {"pushed", "pushed published"})
    counters = world.status("blue")["counters"]
    assert counters["answers"]["packets"] > 500
    assert counters["refused"]["packets"] == 0


def test_without_the_tunnel_they_are_cut(world: Translating) -> None:
    """So the router does what such a cloud does, and the test above can fail."""
    traffic = begin(world)
    world.move("green")
    assert world.who(4) == "green"
    traffic.moved.set()
    assert {kind for kind, how in traffic.end().items() if how == "whole"} == set(), traffic.ended


def test_a_server_that_only_speaks_is_heard(world: Translating) -> None:
    if not isinstance(world, Anchored):
        pytest.skip("without an anchor address it is not: see above")
    world.up()
    traffic = Traffic(world)
    traffic.start("pushed", traffic.pushed, 4)
    world.move("green")
    world.tunnel("blue", "moved")
    traffic.moved.set()
    assert traffic.end() == {"pushed": "whole"}


def test_who_comes_directly_is_answered_directly(world: Translating) -> None:
    """The operator's session, and whoever knows blue by its own address, before and after."""
    world.up()
    with closing(world.direct("blue", "hello")) as before:
        file = before.makefile("rw")
        assert file.readline() == "blue\n"
        world.move("green")
        world.tunnel("blue", "moved")
        for number in range(3):
            file.write(f"{number}\n")
            file.flush()
            assert file.readline() == f"blue {number}\n"
    with closing(world.direct("blue", "hello")) as after:
        assert after.makefile().readline() == "blue\n"
    assert world.who(4) == "green"


def test_back_and_forth(world: Translating) -> None:
    """A rollback during the drain: connections to either server live on."""
    traffic = Traffic(world)
    traffic.start("to blue", traffic.two_way, 4)
    world.up()
    world.move("green")
    world.tunnel("blue", "moved")
    assert world.who(4) == "green"
    traffic.start("to green", traffic.two_way, 4)
    world.move("blue")
    world.tunnel("green", "moved")
    assert world.who(4) == "blue"
    traffic.moved.set()
    assert traffic.end() == {"to blue": "whole", "to green": "whole"}


def test_ready_before_the_move_and_harmless(world: Translating) -> None:
    world.up()
    traffic = begin(world)
    traffic.moved.set()
    assert set(traffic.end().values()) == {"whole"}, traffic.ended
    for server in ("blue", "green"):
        counters = world.status(server)["counters"].values()
        assert {counter["packets"] for counter in counters} == {0}


def test_nothing_is_left_after_it(world: Translating) -> None:
    before = {server: kernel_state(world, server) for server in ("blue", "green")}
    world.up()
    assert kernel_state(world, "blue") != before["blue"]
    for server, state in before.items():
        world.tunnel(server, "down")
        assert kernel_state(world, server) == state


def test_up_twice_is_up_once(world: Translating) -> None:
    world.up()
    world.tunnel("blue", "moved")
    once = kernel_state(world, "blue")
    world.up()
    assert kernel_state(world, "blue") == once
    away = [world.at["blue"]] if isinstance(world, Anchored) else []
    assert world.status("blue")["moved"] == away


def test_the_anchor_address_is_what_the_cloud_told(tmp_path: Path) -> None:
    """The vendor's metadata, as cloud-init keeps it."""
    told = tmp_path / "instance-data.json"
    told.write_text(
        '{"ds": {"meta_data": {"interfaces": {"public": [{"anchor_ipv4": {"ip_address": '
        '"10.19.0.5", "netmask": "255.255.0.0", "gateway": "10.19.0.1"}}]}}}}'
    )
    assert arrival.here(told) == "10.19.0.5"
