"""Whom the packet filter of the default server confines, in namespaces: containers, the peer's
account, and people without sudo."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from cloudinit import firewall
from images.server import peer, tunnel
from specs import layout
from specs.model import User
from specs.packages import ACCOUNTS, PEER_ACCOUNT, numbers
from specs.plan import resolve
from specs.read import read
from tests.integration.world import ADDRESS, BOX, ROOT, World, opened

pytestmark = pytest.mark.root

CONNECT = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
made = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET)
made.settimeout(2)
try:
    made.connect((sys.argv[2], int(sys.argv[3])))
    print("open")
except OSError as error:
    print(type(error).__name__)
"""
FRAME = bytes.fromhex("080000000012b500") + b"\xff" * 12 + b"\x08\x00" + b"?" * 46
"""VXLAN's header and a frame to everybody."""

REFUSED = "ConnectionRefusedError"
PEER = ACCOUNTS[PEER_ACCOUNT]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with opened(World) as made:
        yield made


MANY = """
import socket, struct, sys
made = []
for _ in range(int(sys.argv[3])):
    try:
        made.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), 2))
        made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except ConnectionRefusedError:
        pass
print(len(made))
"""


def reach(world: World, place: str, address: str, port: int, uid: int = 0) -> str:
    """`open`, or the error, when an account of a place connects."""
    words = [sys.executable, "-c", CONNECT, str(uid), address, str(port)]
    return world.run(place, *words).stdout.strip()


def listening(stack: ExitStack, world: World, address: str, port: int) -> None:
    """Something takes connections on blue until the stack closes."""
    if address == layout.POOLER_ADDRESS:
        world.ip("blue", f"address replace {address}/32 dev lo")
    with world.inside("blue"):
        stack.enter_context(socket.create_server((address, port), backlog=4096))


@pytest.mark.parametrize("version", [4, 6])
def test_the_peers_account_reaches_the_peers_ssh_alone(world: World, version: int) -> None:
    """Port 80 stands for SSH here: what listens on all of these."""
    there, other = ADDRESS["green"][version], ADDRESS["green"][10 - version]
    world.nft("blue", peer.rules(there, 80))
    assert reach(world, "blue", there, 80, PEER) == "open"
    for address, port in ((other, 80), (there, 81), (BOX, 80), ("::1", 80), ("127.0.0.1", 80)):
        assert reach(world, "blue", address, port, PEER) == REFUSED
    for address in (other, BOX, "::1", "127.0.0.1"):
        assert reach(world, "blue", address, 80) == "open"
    world.nft("blue", "flush set inet bakehouse peer_ssh4; flush set inet bakehouse peer_ssh6")
    assert reach(world, "blue", there, 80, PEER) == REFUSED


def test_the_peers_account_reaches_the_apps(world: World) -> None:
    with ExitStack() as stack:
        listening(stack, world, "127.0.0.1", 20_000)
        listening(stack, world, "127.0.0.1", 5000)
        assert reach(world, "blue", "127.0.0.1", 20_000, PEER) == "open"
        assert reach(world, "blue", "127.0.0.1", 5000, PEER) == REFUSED


def test_a_container_does_not_speak_into_the_tunnel(world: World) -> None:
    """Its packets would come from this server's address. Blue itself is heard."""
    green = ADDRESS["green"][4]
    assert reach(world, "box", green, 80) == "open"
    world.up()
    try:
        for place, heard in (("box", 0), ("blue", 1)):
            with world.inside(place), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.sendto(FRAME, (green, tunnel.PORT))
            shown = world.run("green", "ip", "-j", "-s", "link", "show", "dev", tunnel.LINK).stdout
            assert json.loads(shown)[0]["stats64"]["rx"]["packets"] == heard
        assert reach(world, "box", green, 80) == REFUSED
    finally:
        for server in ("blue", "green"):
            world.tunnel(server, "down")


def test_one_app_cannot_use_up_the_pooler(world: World) -> None:
    """Of 500 connections the only app gets 450, again when those are closed."""
    pooler = (layout.POOLER_ADDRESS, layout.POOLER_PORT)
    many = [sys.executable, "-c", MANY, pooler[0], str(pooler[1]), "460"]
    with ExitStack() as stack:
        listening(stack, world, *pooler)
        for _ in range(2):
            assert world.run("box", *many).stdout.strip() == "450"
        assert reach(world, "blue", *pooler) == "open"
    assert (
        '"br-app0" ct count over 450'
        in world.run("blue", "nft", "list", "set", "inet", "bakehouse", "pooler_users").stdout
    )


def test_people_without_sudo_reach_no_inner_port(world: World) -> None:
    """Not the pooler, and neither an app's port nor what a swap opens; others do."""
    spec = read(ROOT / "specs/hobby.yaml")
    spec = replace(spec, users=(*spec.users, User("reader")))
    part = firewall.part(resolve(spec, None, ()).image)
    world.nft("blue", next(file.content for file in part.files if file.path == firewall.RULES))
    reader, admin = numbers(spec)["reader"], numbers(spec)[spec.users[0].name]
    inner = [("127.0.0.1", port) for port in (layout.HOLD_PORT, 20_000, 30_001)]
    with ExitStack() as stack:
        for address, port in (*inner, (layout.POOLER_ADDRESS, layout.POOLER_PORT)):
            listening(stack, world, address, port)
            assert reach(world, "blue", address, port, reader) == REFUSED
            assert reach(world, "blue", address, port, admin) == "open"
    assert reach(world, "blue", "127.0.0.1", 80, reader) == "open"
