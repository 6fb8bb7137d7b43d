"""A provider with two servers, for tests: what the contract suite and the local one share.

A cloud is an emulator, and the test's thread is where that one's users are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cloudinit.boot import boot
from images import ssh
from images.home import Home
from images.hosts.keys import first_key
from images.providers.base import IMAGE, ROLE, SPEC, FloatingIp, Order, Provider, Server
from images.providers.choose import provider
from images.providers.keys import operator_key
from images.run import Result, run
from specs.model import Deploy, Spec
from specs.plan import ServerPlan
from tests.emulators.digitalocean import DigitalOcean, digitalocean
from tests.emulators.digitalocean_network import Translated
from tests.emulators.hetzner import Hetzner, hetzner
from tests.emulators.served import Api

NAME = "hobby"
URL = "https://images.example.org/{image}.raw"
PATIENCE = 90.0
WHERE = {
    "local": Deploy(),
    "hetzner": Deploy(provider="hetzner", locations=("fsn1", "nbg1"), server_types=("cx23",)),
    "digitalocean": Deploy(
        provider="digitalocean",
        locations=("fra1",),
        server_types=("s-1vcpu-1gb",),
        image_url=URL,
    ),
}
"""Where each provider is asked to make servers."""


@dataclass(slots=True)
class Yard:
    """A provider, an image there, and the plan of its servers; `ip` is the spec's floating IP."""

    provider: Provider
    home: Home
    image: str
    plan: ServerPlan
    ip: FloatingIp
    offer: Callable[[Path, str], str]
    """Makes an image known there, by its id, and returns what orders call it."""
    emulator: Api | None = None
    doors: dict[str, ssh.Door] = field(default_factory=dict)

    def order(self, name: str, labels: Mapping[str, str] | None = None) -> Order:
        """An order of a server without a database of its own."""
        key = operator_key(self.home).public
        addresses = tuple(filter(None, (self.ip.v4, self.ip.v6)))
        plan = replace(
            self.plan,
            role="standby",
            operator_keys=(key,),
            floating_ips=addresses,
            first_key=first_key(self._folder(name)).private,
        )
        labels = {SPEC: NAME, ROLE: "standby"} if labels is None else labels
        return Order(name, self.image, boot(plan), labels)

    def _folder(self, name: str) -> Path:
        return self.home.root / f"door-{name}"

    def look(self, server: Server) -> Server:
        """The server as it is now."""
        found = {one.id: one for one in self.provider.servers(NAME)}
        return found[server.id]

    def enter(self, server: Server) -> ssh.Door:
        """The way in, once SSH lets us in: the server may have been switched on just now."""
        folder = self._folder(server.name)
        if server.id in self.doors:
            ssh.close(self.doors[server.id])
        door = self.provider.door(server, folder, self.plan.admin, 22)
        deadline = time.monotonic() + PATIENCE
        while ssh.attempt(door, "true", timeout=30).code:
            assert time.monotonic() < deadline, f"{server.name} does not let us in"
            time.sleep(0.2)
        self.doors[server.id] = door
        return door

    def boot_id(self, server: Server) -> str:
        """What tells one boot from the next; "" when it does not answer."""
        return self.on(server, "cat /proc/sys/kernel/random/boot_id", check=False).stdout

    def on(self, server: Server, line: str, check: bool = True) -> Result:
        """Run a shell line on a server as root, by the door that `enter` found."""
        return ssh.as_root(self.doors[server.id], line, timeout=60, check=check)

    def outside(self, *argv: str, check: bool = True) -> Result:
        """Run a command where users are."""
        return run(self.provider.outside(argv), timeout=60, check=check)

    def answering(self, address: str) -> str:
        """The host key of whoever answers there; "" when nobody does."""
        words = ["ssh-keyscan", "-T", "3", "-t", "ed25519", address]
        found = self.outside(*words, check=False).stdout.split()
        return found[-1] if found else ""

    def identity(self, server: Server) -> str:
        """The host key of a server, as its door knows it."""
        return self.doors[server.id].config.with_name("known_hosts").read_text().split()[-1]


@contextmanager
def yard(name: str, root: Path, raw: Path, plan: ServerPlan) -> Iterator[Yard]:
    """A provider with an empty home of its own; its servers are gone in the end."""
    home = Home(root)
    with ExitStack() as stack:
        emulator = stack.enter_context(emulated(name, Home(root / "cloud")))
        there = provider(name, home, Spec(name=NAME, deploy=WHERE[name]))

        def offer(image: Path, image_id: str) -> str:
            labels = {IMAGE: image_id, **({SPEC: NAME} if image_id.startswith(NAME) else {})}
            if isinstance(emulator, Hetzner) and labels not in emulator.labels(emulator.images):
                emulator.add_image(image, labels=labels)
            elif isinstance(emulator, DigitalOcean):
                emulator.internet[URL.replace("{image}", image_id)] = image
            return there.image(image, image_id)

        ip = there.create_floating_ip(NAME)
        found = Yard(there, home, offer(raw, "test-image"), plan, ip, offer, emulator)
        try:
            yield found
        finally:
            for door in found.doors.values():
                ssh.close(door)
            for server in there.servers(NAME):
                there.delete_server(server.id)
            for volume in there.volumes(NAME):
                there.delete_volume(volume.name)


@contextmanager
def emulated(name: str, home: Home) -> Iterator[Api | None]:
    """The vendor's API where `choose.provider` will find it; none for the local provider."""
    if name == "local":
        yield None
        return
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        cloud: Hetzner | DigitalOcean[Translated]
        if name == "hetzner":
            cloud = stack.enter_context(hetzner(home))
            token, endpoint = "HCLOUD_TOKEN", "HCLOUD_ENDPOINT"
        else:
            cloud = stack.enter_context(digitalocean(home))
            token, endpoint = "DIGITALOCEAN_TOKEN", "DIGITALOCEAN_API_URL"
        stack.enter_context(cloud.machines.inside())
        patch.setenv(token, "token")
        patch.setenv(endpoint, cloud.url)
        yield cloud
