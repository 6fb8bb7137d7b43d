"""What a run is to do, decided before anything is touched: which image of which spec, and where."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from cloudinit.boot import boot
from images import store, stored_plan
from images.home import Home, write_whole
from images.hosts.ca import BRING, find_ca, known_hosts_line
from images.hosts.keys import KNOWN, first_key
from images.marks import bad
from images.promote.reach import Contact, LockedOutError
from images.providers.base import EPOCH, GENERATION, IMAGE, ROLE, SPEC, Order, Provider, Server
from images.providers.cloud_door import BY_CA
from images.providers.keys import operator_key
from images.secrets.gather import gather
from images.ssh import Door
from specs.errors import BakehouseError, UsageError
from specs.model import Spec, Strategy
from specs.plan import ImagePlan, Plan, Role

ACTIVE: Final = "active"
STANDBY: Final = "standby"
GIVEN_UP: Final = "given-up"

Verb = Literal["promote", "rollback", "first", "restore", "blue-lost"]

OLD: Final = 3600.0
"""Seconds after which nobody asks any more whether a run that failed still lives."""

DISK: Final = 8 << 30
"""Bytes of a server's disk where its provider lets us choose."""


@dataclass(frozen=True, slots=True)
class Site:
    """A spec where it is deployed: what every verb needs, whatever it wants done."""

    home: Home
    provider: Provider
    spec: Spec
    spec_file: Path

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    @property
    def floating_ip(self) -> str:
        """The name of its floating IP at the provider."""
        return self.spec.deploy.floating_ip or self.spec.name

    @property
    def admin(self) -> str:
        """The account that the operator uses, as in `specs.plan`."""
        return next((user.name for user in self.spec.users if user.sudo), "root")

    def folder(self, server: str) -> Path:
        """Where what is known of a server is kept: the files of its door."""
        return self.home.root / "promote" / self.name / server

    def contact(self, server: Server) -> Contact:
        """The way into a server."""

        def door() -> Door:
            folder = self.folder(server.name)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.provider.name == "local":
                return self.provider.door(server, folder, self.admin, self.spec.ssh.port)
            try:
                self._trust(server, folder / KNOWN)
                return self.provider.door(server, folder, self.admin, self.spec.ssh.port)
            except BakehouseError as error:  # nothing was asked yet: it is this machine that lacks
                raise LockedOutError(error.message, error.hint) from error

        return Contact(server, door)

    def _trust(self, server: Server, known: Path) -> None:
        """Where another machine made it, what the spec's CA certified is good here, too; and a CA
        that was brought since takes the place of one that was not theirs."""
        before = known.read_text(encoding="utf-8") if known.exists() else BY_CA
        if not before.startswith(BY_CA):
            return
        ca = find_ca(self.spec, self.spec_file, self.home)
        if ca is None:
            raise BakehouseError(
                f"the CA that signed the host key of {server.name} is not on this machine", BRING
            )
        line = f"{known_hosts_line(ca, [server.name])}\n"
        if before != line:
            write_whole(known, line)


@dataclass(frozen=True, slots=True)
class Job:
    """One swap: the image that shall serve. `plan` is the one that the image was baked from."""

    site: Site
    verb: Verb
    image: store.Image
    generation: int
    plan: Plan
    strategy: Strategy

    def order(self, epoch: int, role: Role, *, may_init: bool = False) -> Order:
        """The server that shall run the image, with a host key that tells it at first contact."""
        name = f"{self.site.name}-g{self.generation}-e{epoch}"
        ip = self.site.provider.floating_ip(self.site.floating_ip)
        plan = replace(
            self.plan.server,
            role=role,
            generation=self.generation,
            image_id=self.image.id,
            operator_keys=(operator_key(self.site.home).public,),
            may_init=may_init,
            floating_ips=tuple(address for address in (ip.v4, ip.v6) if address),
            first_key=first_key(self.site.folder(name)).private,
        )
        raw = store.raw_path(self.site.home, self.image.id)
        return Order(
            name=name,
            image=self.site.provider.image(raw, self.image.id),
            user_data=boot(plan),
            labels=self.labels(epoch, STANDBY if role == "standby" else ACTIVE),
            disk=DISK,
        )

    def secrets(self) -> Mapping[str, str]:
        """Every secret that the image's server needs, by name; asked for before anything begins.

        Raises as `images.secrets.gather`.
        """
        ours = store.baked(self.site.home, self.image.id)
        return gather(
            self.site.spec, self.site.spec_file, self.plan.image, named=self.image.id, baked=ours
        )

    def labels(self, epoch: int, role: str) -> dict[str, str]:
        """The labels of a server that runs the image."""
        return labels(self.site.name, self.generation, self.image.id, role, epoch)


def plan_of(site: Site, server: Server) -> ImagePlan | None:
    """The plan of a server's image, where this home still has it and this version can read it."""
    try:
        return stored_plan.load(site.home, server.labels.get(IMAGE, "")).image
    except BakehouseError:
        return None


def labels(spec: str, generation: int, image: str, role: str, epoch: int) -> dict[str, str]:
    """What a server's labels say."""
    return {
        SPEC: spec,
        GENERATION: str(generation),
        IMAGE: image,
        ROLE: role,
        EPOCH: str(epoch),
    }


def job(
    site: Site,
    verb: Verb,
    image: str = "",
    generation: int = 0,
    strategy: str = "",
    *,
    disk: bool = True,
) -> Job:
    """The job for an image (id or `<spec>@<generation>`), a generation, or the newest good one;
    without `disk` for one whose server may stand already, so that its record will do.

    Raises UsageError when there is none, BakehouseError when its report is no pass.
    """
    known = list(store.generations(site.home, site.name))
    if generation:
        image = f"{site.name}@{generation}"
    if not image:
        image, _ = newest_good(site)
    here = disk and site.provider.name == "local"  # a cloud has its images, and says if not
    found = store.look_up(site.home, image, disk=here)
    if found.name != site.name:
        raise UsageError(f"{found.id} is an image of {found.name}, not of {site.name}")
    named = image.rpartition("@")[2]
    numbers = [g.number for g in known if g.image == found.id]
    number = int(named) if "@" in image else max(numbers, default=0)
    if not number:
        raise UsageError(f"{found.id} is no generation", "run `invoke build-image`")
    if not store.report(site.home, found.id).get("passed"):
        raise BakehouseError(
            f"{found.id} has no passing report", f"prove it: `invoke test-image --image {found.id}`"
        )
    plan = stored_plan.load(site.home, found.id)
    ours = plan.image.data.strategy
    if _strategy(strategy or ours) != ours:
        raise UsageError(
            f"--strategy {strategy}: {found.id} keeps its data by {ours}",
            "it is a part of the image: change data.strategy in the spec and bake",
        )
    return Job(site, verb, found, number, plan, ours)


def newest_good(site: Site) -> tuple[str, tuple[str, ...]]:
    """The newest generation that is not marked bad (`<spec>@<generation>`), and a line for each
    newer one that is. Raises UsageError when there is no image, or all are bad.
    """
    passed_over: list[str] = []
    for found in reversed(list(store.generations(site.home, site.name))):
        mark = bad(site.home, site.provider, site.name, found.image)
        name = f"{site.name}@{found.number}"
        if mark is None:
            return name, tuple(passed_over)
        passed_over.append(f"{name} is passed over, it is marked bad: {mark.why}")
    if passed_over:
        raise UsageError(
            f"every generation of {site.name} is marked bad; {passed_over[0]}",
            "bake a new image, or name one to try it again: --image",
        )
    raise UsageError(f"{site.name} has no image yet", "run `invoke build-image` first")


STRATEGIES: Final[dict[str, Strategy]] = {"replica": "replica", "volume": "volume", "none": "none"}


def _strategy(word: str) -> Strategy:
    if word not in STRATEGIES:
        raise UsageError(f"--strategy {word}: no such strategy", "use replica, volume or none")
    return STRATEGIES[word]


@contextmanager
def owner(site: Site) -> Iterator[str]:
    """A name for this run, with a file that stays locked while the run lives.

    The kernel drops the lock with its process: so the next run on this machine knows at once that
    a run was killed, and need not wait for its lease to end. The file also stays of a run that
    ended in an error, which may be that nobody could end its lease; an hour later it goes.
    """
    name = secrets.token_hex(8)
    path = _life(site, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(site)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield name
        path.unlink(missing_ok=True)


def _sweep(site: Site) -> None:
    """Delete the files of runs whose leases have run out long ago."""
    for file in (site.home.root / "history").glob(f".{site.name}.*"):
        with suppress(FileNotFoundError):  # another run sweeps, too
            if time.time() - file.stat().st_mtime > OLD and known_dead(site, file.suffix[1:]):
                file.unlink()


def known_dead(site: Site, name: str) -> bool:
    """Whether that run was one of this machine's and lives no more."""
    path = _life(site, name)
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _life(site: Site, name: str) -> Path:
    return site.home.root / "history" / f".{site.name}.{Path(name).name}"
