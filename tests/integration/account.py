"""An account at the emulated DigitalOcean: its servers are on paper, so its tests take seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from images.home import Home
from images.providers.base import SPEC, Order
from images.providers.digitalocean import DigitalOcean
from images.providers.digitalocean_api import Api
from images.providers.waiting import Waiting
from specs.model import Deploy
from specs.read import read
from tests.emulators import digitalocean as vendor
from tests.emulators.paper import Paper

ROOT = Path(__file__).parents[2]
LABELS = {SPEC: "shop", "role": "standby", "generation": "2"}
ID = "shop-0123456789ab"
URL = "https://images.example.org/{image}.raw"
SHOP = replace(read(ROOT / "specs/hobby.yaml"), name="shop")
DEPLOY = Deploy(
    provider="digitalocean",
    locations=("fra1", "ams3"),
    server_types=("s-1vcpu-1gb", "s-2vcpu-4gb"),
    image_url=URL,
)


@dataclass(slots=True)
class Time:
    """Time that passes only while somebody waits."""

    now: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds
        threading.Event().wait(0.001)  # the emulator's own threads get their turn

    def clock(self) -> float:
        return self.now


@dataclass(slots=True)
class Account:
    """An account at the emulator, and our provider in front of it."""

    emulator: vendor.DigitalOcean[Paper]
    paper: Paper
    cloud: DigitalOcean
    time: Time
    make: Callable[..., DigitalOcean]

    def order(self, name: str = "shop-g2-e1") -> Order:
        return Order(name, self.cloud.image(Path("unused"), ID), "#cloud-config\n{}\n", LABELS)


@contextmanager
def opened(folder: Path) -> Iterator[Account]:
    """Every request and every answer was as the vendor describes them."""
    file = folder / "image.raw"
    file.write_bytes(b"raw")
    paper, time = Paper(), Time()
    emulator = vendor.DigitalOcean(
        paper, internet={URL.replace("{image}", ID): file}, clock=time.clock
    )
    with emulator.serving() as url:

        def make(deploy: Deploy = DEPLOY) -> DigitalOcean:
            waiting = Waiting(time.sleep, time.clock, lambda: 0.5, patience=180)
            spec = replace(SHOP, deploy=deploy)
            return DigitalOcean(Home(folder / "home"), Api("token", url, waiting), spec)

        yield Account(emulator, paper, make(), time, make)
        emulator.actions.await_all()
    assert not emulator.wrong()
    assert not emulator.wrong_answers()


def everything(account: Account) -> None:
    """Each thing that the provider can make, once, and used."""
    cloud = account.cloud
    cloud.create_floating_ip("shop")
    server = cloud.create_server(account.order())
    assert server.labels == LABELS
    assert server.status == "running"
    cloud.set_labels(server.id, {**LABELS, "role": "active"})
    assert cloud.servers("shop")[0].labels["role"] == "active"
    cloud.assign("shop", server.id)
    assert cloud.floating_ip("shop").server == server.id
    cloud.create_volume("shop-data", 64 << 20, {SPEC: "shop"})
    cloud.attach("shop-data", server.id)
    assert cloud.servers("shop")[0].volumes == ("shop-data",)
    cloud.power_off(server.id)
    cloud.power_off(server.id)
    assert cloud.servers("shop")[0].status == "off"
    cloud.power_on(server.id)
    assert cloud.make_note("shop-lease-1", {"owner": "a"})
    cloud.change_note("shop-lease-1", {"owner": "b"})
    assert not cloud.make_note("shop-lease-1", {"owner": "c"})
    cloud.detach("shop-data")
    cloud.assign("shop", "")


def remove(account: Account) -> None:
    """All of it again."""
    cloud = account.cloud
    for server in cloud.servers("shop"):
        cloud.delete_server(server.id)
        cloud.delete_server(server.id)
    cloud.delete_volume("shop-data")
    cloud.delete_image(ID)
    cloud.delete_image(ID)
    cloud.forget("shop")
    cloud.forget("shop")


LEFT: dict[str, list[str]] = {
    "droplets": [],
    "volumes": [],
    "reserved": [],
    "images": [],
    "keys": ["bakehouse operator"],
    "tags": [],
    "firewalls": [],
}
"""What stays: the operator's key, since other specs may use it."""
