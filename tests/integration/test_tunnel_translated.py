"""The tunnel where the cloud translates the floating IP to another address of each server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from images.server import arrival
from tests.integration.traffic import begin
from tests.integration.translating import Anchored, Translating
from tests.integration.world import opened

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", params=[Translating, Anchored])
def built(request: pytest.FixtureRequest) -> Iterator[Translating]:
    with opened(request.param) as made:
        yield made


@pytest.fixture
def world(built: Translating) -> Translating:
    built.reset()
    return built


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
    assert cut <= (set() if isinstance(world, Anchored) else {"pushed IPv4", "pushed published"})
    counters = world.status("blue")["counters"]
    assert counters["answers"]["packets"] > 500
    assert counters["refused"]["packets"] == 0


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


def test_the_anchor_address_is_what_the_cloud_told(tmp_path: Path) -> None:
    """The vendor's metadata, as cloud-init keeps it."""
    told = tmp_path / "instance-data.json"
    told.write_text(
        '{"ds": {"meta_data": {"interfaces": {"public": [{"anchor_ipv4": {"ip_address": '
        '"10.19.0.5", "netmask": "255.255.0.0", "gateway": "10.19.0.1"}}]}}}}'
    )
    assert arrival.here(told) == "10.19.0.5"
