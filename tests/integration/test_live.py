"""The life of a server at each cloud: over its emulator always, and for money with `--live`.

The live one needs the token of a project that may hold nothing called `bakehouse-live`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from images.home import Home
from images.providers import digitalocean, digitalocean_api, hetzner, hetzner_api
from images.providers.base import SPEC, Order
from images.providers.waiting import Waiting
from specs.model import Deploy, Spec
from tests.emulators import digitalocean as emulated_digitalocean
from tests.emulators import hetzner as emulated_hetzner
from tests.emulators.digitalocean_network import Translated
from tests.emulators.small import small_tree

NAME: Final = "bakehouse-live"
LABELS: Final = {SPEC: NAME}
USER_DATA: Final = "#cloud-config\npackage_update: false\n"
PATIENT: Final = Waiting(patience=600)


class AtHetzner:
    """Who rents there. `hour` is what the emulator asks, `left` what stays in the account, `volume`
    bytes of the smallest, `beside` what else is paid for."""

    token = hetzner.TOKEN
    volume = 10 << 30
    hour = "1.1900 EUR"
    left: ClassVar[dict[str, Any]] = {}
    beside = "two floating IPs and a volume of 10 GB"

    def __init__(
        self,
        folder: Path,
        token: str,
        endpoint: str = hetzner_api.ENDPOINT,
        waiting: Waiting = PATIENT,
    ) -> None:
        api = hetzner_api.Api(token, endpoint, waiting)
        self.types = ("cx23", "cx33")
        deploy = Deploy("hetzner", locations=("fsn1", "nbg1"), server_types=self.types)
        spec = Spec(name=NAME, deploy=deploy)
        self.own = hetzner.Hetzner(Home(folder / "operator"), api, spec)

    @staticmethod
    @contextmanager
    def emulated(folder: Path) -> Iterator[emulated_hetzner.Hetzner]:
        """A project with the vendor's own image."""
        with emulated_hetzner.hetzner(Home(folder / "cloud"), delay=0.05) as cloud:
            cloud.add_image(small_tree(folder / "small"), kind="system", name="debian-13")
            yield cloud

    def cost(self) -> str:
        """The dearest hour of a server that may be made, at the prices that the API names."""
        kinds = [self.own.api.client.server_types.get_by_name(name) for name in self.types]
        prices = [price["price_hourly"]["gross"] for kind in kinds if kind for price in kind.prices]
        return f"{max(map(float, prices)):.4f} EUR"


class AtDigitalOcean:
    """As above."""

    token = digitalocean.TOKEN
    volume = 1 << 30
    hour = "0.00893 USD"
    left: ClassVar[dict[str, Any]] = {"keys": ["bakehouse operator"]}
    beside = "a volume of 1 GiB and a reserved IP"

    def __init__(
        self,
        folder: Path,
        token: str,
        endpoint: str = digitalocean_api.ENDPOINT,
        waiting: Waiting = PATIENT,
    ) -> None:
        api = digitalocean_api.Api(token, endpoint, waiting)
        self.sizes = ("s-1vcpu-1gb",)
        deploy = Deploy("digitalocean", locations=("fra1", "ams3"), server_types=self.sizes)
        spec = Spec(name=NAME, deploy=deploy)
        self.own = digitalocean.DigitalOcean(Home(folder / "operator"), api, spec)

    @staticmethod
    @contextmanager
    def emulated(folder: Path) -> Iterator[emulated_digitalocean.DigitalOcean[Translated]]:
        """An account, with an own image of the vendor's."""
        small = {"debian-13-x64": small_tree(folder / "small")}
        with emulated_digitalocean.digitalocean(Home(folder / "cloud"), bases=small) as cloud:
            yield cloud

    def cost(self) -> str:
        """As above."""
        sizes = self.own.api.pages(self.own.api.client.sizes.list, "sizes")
        prices = [one["price_hourly"] for one in sizes if one["slug"] in self.sizes]
        return f"{max(prices):.5f} USD"


Operator = AtHetzner | AtDigitalOcean
clouds = pytest.mark.parametrize(
    "cloud", [AtHetzner, AtDigitalOcean], ids=["hetzner", "digitalocean"]
)


@pytest.mark.root
@clouds
def test_a_life_at_the_emulator(cloud: type[Operator], tmp_path: Path) -> None:
    with cloud.emulated(tmp_path) as emulator:
        quick = Waiting(first=0.02, longest=0.2, patience=60)
        operator = cloud(tmp_path, "token", emulator.url, quick)
        assert operator.cost() == cloud.hour
        life(operator)
        assert {kind: what for kind, what in emulator.left().items() if what} == cloud.left
        assert not emulator.wrong()
        assert not emulator.wrong_answers()


@pytest.mark.live
@clouds
def test_a_life_for_money(
    cloud: type[Operator], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if cloud.token not in os.environ:
        pytest.skip(f"needs {cloud.token}")
    operator = cloud(tmp_path, os.environ[cloud.token])
    with capfd.disabled():
        print(f"\nat most {operator.cost()} for the begun hour of a server, and a cent or two for")
        print(f"{cloud.beside}: see the vendor's prices")
    life(operator)


def life(operator: Operator) -> None:
    """Everything that a promote asks of a provider, once; nothing is left in the end."""
    own = operator.own
    with swept(operator):
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
        own.create_volume(f"{NAME}-data", operator.volume, LABELS)
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
def swept(operator: Operator) -> Iterator[None]:
    """Nothing of this name is left, however it ends."""
    own = operator.own
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
