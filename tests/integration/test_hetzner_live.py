"""The life of a server at Hetzner: over the emulator always, and for money with `--live`.

The live one needs HCLOUD_TOKEN, of a project that may hold nothing called `bakehouse-live`.
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
from images.providers.hetzner import TOKEN, Hetzner
from images.providers.hetzner_api import Api
from images.providers.waiting import Waiting
from specs.model import Deploy, Spec
from tests.emulators.hetzner import hetzner
from tests.emulators.small import small_tree

NAME: Final = "bakehouse-live"
LABELS: Final = {SPEC: NAME}
USER_DATA: Final = "#cloud-config\npackage_update: false\n"


@pytest.mark.root
def test_a_life_at_the_emulator(tmp_path: Path) -> None:
    with hetzner(Home(tmp_path / "cloud"), delay=0.05) as cloud:
        cloud.add_image(small_tree(tmp_path / "small"), kind="system", name="debian-13")
        quick = Waiting(first=0.02, longest=0.2, patience=60)
        own = provider(tmp_path, Api("token", cloud.url, quick))
        assert cost(own) == "1.1900"
        life(own)
        assert set(cloud.left().values()) == {0}
        assert not cloud.wrong()
        assert not cloud.wrong_answers()


@pytest.mark.live
def test_a_life_for_money(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if TOKEN not in os.environ:
        pytest.skip(f"needs {TOKEN}")
    own = provider(tmp_path, Api(os.environ[TOKEN], waiting=Waiting(patience=600)))
    with capfd.disabled():
        print(f"\nat most {cost(own)} EUR for the begun hour of a server, and a cent or two for")
        print("two floating IPs and a volume of 10 GB: see the vendor's prices")
    life(own)


def provider(folder: Path, api: Api) -> Hetzner:
    """An operator's, whose servers are the cheapest."""
    deploy = Deploy(provider="hetzner", locations=("fsn1", "nbg1"), server_types=("cx22", "cx23"))
    return Hetzner(Home(folder / "operator"), api, Spec(name=NAME, deploy=deploy))


def cost(own: Hetzner) -> str:
    """The dearest hour of a server that may be made, at the prices that the API names."""
    assert own.spec is not None
    kinds = [own.api.client.server_types.get_by_name(n) for n in own.spec.deploy.server_types]
    prices = [price["price_hourly"]["gross"] for kind in kinds if kind for price in kind.prices]
    return f"{max(map(float, prices)):.4f}"


def life(own: Hetzner) -> None:
    """Everything that a promote asks of a provider, once; nothing is left in the end."""
    with swept(own):
        assert own.make_note(f"{NAME}-lease-1", {"owner": "us"})
        assert not own.make_note(f"{NAME}-lease-1", {"owner": "them"})
        base = own.base_image("trixie", "amd64")
        order = Order(NAME, base.id, USER_DATA, LABELS)
        server = own.create_server(order)
        assert own.create_server(order).id == server.id
        ip = own.create_floating_ip(NAME)
        own.assign(NAME, server.id)
        assert own.floating_ip(NAME).server == server.id
        assert own.floating_ip(ip.v4).server == server.id
        own.create_volume(f"{NAME}-data", 10 << 30, LABELS)
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
def swept(own: Hetzner) -> Iterator[None]:
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
