"""A pair of servers at an emulated cloud, deployed and swapped by the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from images import store
from images.home import Home
from images.providers.base import IMAGE, SPEC, Provider, Server
from images.providers.choose import provider
from images.providers.digitalocean_tags import tags
from images.ssh import as_root
from specs.read import read
from tests.emulators.digitalocean import DigitalOcean
from tests.emulators.hetzner import Hetzner
from tests.emulators.served import Allowance, Api
from tests.integration.clouds import emulated
from tests.integration.deployment import NAME, Deployment, prepare

WHERE = {
    "hetzner": "{provider: hetzner, locations: [fsn1], server_types: [cx23]",
    "digitalocean": "{provider: digitalocean, locations: [fra1], server_types: [s-2vcpu-4gb]",
}
SPARSE: Final = Allowance(250, 250 / 60)
"""DigitalOcean's for a minute (its API reference, "Rate Limit"); Hetzner's emulator always has its
own."""

TIMES = ", confirm: 3, drain: 15}"


@dataclass(slots=True)
class Rented(Deployment):
    """Two generations at a cloud."""

    emulator: Api | None = None

    @property
    def provider(self) -> Provider:
        """As the command line has it."""
        spec = read(self.spec)
        return provider(spec.deploy.provider, self.home, spec)

    def shell(self, server: Server, line: str) -> str:
        """What a shell line prints on a server, run as root, by the command line's own way in."""
        folder = self.home.root / "promote" / NAME / server.name
        return as_root(self.provider.door(server, folder, "deploy", 22), line, timeout=300).stdout


@contextmanager
def rented(name: str, folder: Path, times: str = TIMES) -> Iterator[Rented]:
    """The first generation serves, and its cloud is where this thread's users are; in the end
    nothing is left."""
    made = prepare(folder, WHERE[name] + times)
    with emulated(name, Home(folder / "cloud")) as emulator:
        if emulator and emulator.allowance is None:
            emulator.allowance = replace(SPARSE)
        for image in made.images:
            labels, raw = {SPEC: NAME, IMAGE: image}, store.raw_path(made.home, image)
            if isinstance(emulator, Hetzner):
                emulator.add_image(raw, labels=labels)
            elif isinstance(emulator, DigitalOcean):
                emulator.images.add(image, raw, tags(labels))
        found = Rented(made.folder, images=made.images, emulator=emulator)
        found.invoke("promote", "--first", "--image", f"{NAME}@1")
        yield found
