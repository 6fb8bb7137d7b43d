"""Connections survive the move of the floating IP, whatever way the cloud leads it to a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.traffic import PUBLISHED, Traffic, begin
from tests.integration.translating import Anchored, Translating
from tests.integration.world import ADDRESS, World, kernel_state, opened

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", params=[World, Translating, Anchored])
def built(request: pytest.FixtureRequest) -> Iterator[World]:
    with opened(request.param) as made:
        yield made


@pytest.fixture
def world(built: World) -> World:
    built.reset()
    return built


def test_without_the_tunnel_they_are_cut(world: World) -> None:
    """So the router does what clouds do, and the tests of the move can fail."""
    traffic = begin(world)
    world.move("green")
    assert {world.who(version) for version in world.versions} == {"green"}
    traffic.moved.set()
    assert {kind for kind, how in traffic.end().items() if how == "whole"} == set(), traffic.ended


def test_a_server_that_only_speaks_is_heard(world: World) -> None:
    """No packet of a client's tells blue that the address is gone, so somebody has to."""
    if not world.moved("blue"):
        pytest.skip("without an address of the floating IP's own it is not")
    world.up()
    traffic = Traffic(world)
    for version in world.versions:
        traffic.start(f"pushed IPv{version}", traffic.pushed, version)
    world.move("green")
    world.tunnel("blue", "moved")
    traffic.moved.set()
    assert set(traffic.end().values()) == {"whole"}, traffic.ended


def test_back_and_forth(world: World) -> None:
    """A rollback during the drain: connections to either server live on."""
    traffic = Traffic(world)
    traffic.start("to blue", traffic.two_way, world.versions[0])
    world.up()
    world.move("green")
    world.tell("blue")
    assert world.who(4) == "green"
    traffic.start("to green", traffic.two_way, world.versions[-1])
    world.move("blue")
    world.tell("green")
    assert world.who(4) == "blue"
    traffic.moved.set()
    assert traffic.end() == {"to blue": "whole", "to green": "whole"}


def test_ready_before_the_move_and_harmless(world: World) -> None:
    world.up()
    traffic = begin(world)
    traffic.moved.set()
    assert set(traffic.end().values()) == {"whole"}, traffic.ended
    assert world.who(4, PUBLISHED) == "box"
    assert world.status("blue")["moved"] == []
    for server in ("blue", "green"):
        counters = world.status(server)["counters"].values()
        assert {counter["packets"] for counter in counters} == {0}


def test_nothing_is_left_after_it(world: World) -> None:
    before = {server: kernel_state(world, server) for server in ("blue", "green")}
    for version in (4, 6, 6):
        world.up(version)
        assert world.status("blue")["peer"] == ADDRESS["green"][version]
    assert kernel_state(world, "blue") != before["blue"]
    for server, state in before.items():
        for _ in range(2):
            world.tunnel(server, "down")
            assert kernel_state(world, server) == state
        assert world.status(server) == {"up": False}


def test_up_twice_is_up_once(world: World) -> None:
    world.up()
    world.tunnel("blue", "moved")
    once = kernel_state(world, "blue")
    world.up()
    assert kernel_state(world, "blue") == once
    moved = world.status("blue")["moved"]
    assert (len(moved), {*moved}) == (len(world.moved("blue")), world.moved("blue"))
