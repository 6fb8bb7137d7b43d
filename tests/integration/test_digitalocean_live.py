"""The life of a server at DigitalOcean: over the emulator always, and for money with `--live`.

The live one needs DIGITALOCEAN_TOKEN, of a team that may hold nothing called `bakehouse-live`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from images.home import Home
from images.providers.base import SPEC, Order
from images.providers.digitalocean import TOKEN, DigitalOcean
from images.providers.digitalocean_api import Api
from images.providers.waiting import Waiting
from specs.model import Deploy, Spec
from tests.emulators.digitalocean import digitalocean
from tests.emulators.small import small_tree

NAME: Final = "bakehouse-live"
LABELS: Final = {SPEC: NAME}
USER_DATA: Final = "#cloud-config\npackage_update: false\n"


@pytest.mark.root
def test_a_life_at_the_emulator(tmp_path: Path) -> None:
    small = {"debian-13-x64": small_tree(tmp_path / "small")}
    with digitalocean(Home(tmp_path / "cloud"), bases=small) as cloud:
        quick = Waiting(first=0.02, longest=0.2, patience=60)
        own = provider(tmp_path, Api("token", cloud.url, quick))
        assert cost(own) == "0.00893"
        life(own)
        assert {key: value for key, value in cloud.left().items() if value} == {
            "keys": ["bakehouse operator"]
        }
        assert not cloud.wrong()
        assert not cloud.wrong_answers()


@pytest.mark.live
def test_a_life_for_money(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if TOKEN not in os.environ:
        pytest.skip(f"needs {TOKEN}")
    own = provider(tmp_path, Api(os.environ[TOKEN], waiting=Waiting(patience=600)))
    with capfd.disabled():
        print(f"\nat most {cost(own)} USD for the begun hour of a droplet, and a cent or two for")
        print("a volume of 1 GiB and a reserved IP: see the vendor's prices")
    life(own)


def provider(folder: Path, api: Api) -> DigitalOcean:
    """An operator's, whose droplets are the cheapest."""
    deploy = Deploy(locations=("fra1", "ams3"), server_types=("s-1vcpu-1gb",))
    return DigitalOcean(Home(folder / "operator"), api, Spec(name=NAME, deploy=deploy))


def cost(own: DigitalOcean) -> str:
    """The dearest hour of a droplet that may be made, at the prices that the API names."""
    sizes = own.api.pages(own.api.client.sizes.list, "sizes")
    wanted = own.deploy.server_types
    return f"{max(one['price_hourly'] for one in sizes if one['slug'] in wanted):.5f}"


def life(own: DigitalOcean) -> None:
    """Everything that a promote asks of a provider, once; nothing is left in the end."""
    with swept(own):
        assert own.make_note(f"{NAME}-lease-1", {"owner": "us"})
        assert not own.make_note(f"{NAME}-lease-1", {"owner": "them"})
        ip = own.create_floating_ip(NAME)
        base = own.base_image("trixie", "amd64")
        order = Order(NAME, base.id, USER_DATA, LABELS)
        server = own.create_server(order)
        assert own.create_server(order).id == server.id
        own.assign(NAME, server.id)
        assert own.floating_ip(NAME).server == server.id
        assert own.floating_ip(ip.v4).server == server.id
        own.create_volume(f"{NAME}-data", 1 << 30, LABELS)
        assert own.attach(f"{NAME}-data", server.id).startswith("/dev/")
        own.detach(f"{NAME}-data")
        own.set_labels(server.id, {**LABELS, "role": "active"})
        own.power_off(server.id)
        (found,) = own.servers(NAME)
        assert (found.status, found.labels["role"]) == ("off", "active")
        assert found.private != found.address
        own.power_on(server.id)
        assert [one.status for one in own.servers(NAME)] == ["running"]


@contextmanager
def swept(own: DigitalOcean) -> Iterator[None]:
    """Nothing of this name is left, however it ends."""
    try:
        yield
    finally:
        for server in own.servers(NAME):
            own.delete_server(server.id)
        for volume in own.volumes(NAME):
            own.delete_volume(volume.name)
        for note in own.notes(f"{NAME}-"):
            own.delete_note(note.name)
        own.forget(NAME)
