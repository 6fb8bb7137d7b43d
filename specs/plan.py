"""Spec + lock → Plan: the three typed parts that everything after it reads, and nothing else.

`ImagePlan` is what lies in the image (its digest is the image's identity), `ServerPlan` what one
server learns at its first boot, `OpsPlan` how servers are run and swapped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from specs.lock import Lock
from specs.model import (
    App,
    Borg,
    Caddy,
    Data,
    Deploy,
    Docker,
    Firewall,
    Notify,
    Postgres,
    Rebuild,
    Spec,
    Ssh,
    System,
    User,
)

Role = Literal["primary", "standby", "throwaway"]


@dataclass(frozen=True, slots=True, order=True)
class Payload:
    """Content too large or too binary for `bake.yaml`.

    While the image bakes it lies at `layout.BAKE/payload/<sha256>/`, a folder whose content
    `bake.yaml` copies into `target`. `name` is `server` (our programs), `static/<address>`,
    `app/<app>` (an image folder, see `images.oci`), `files/<purpose>`. For a built app
    `sha256` is over what it is built from (package digests, folder, command).
    """

    name: str
    sha256: str
    target: str


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """What is in an image. Without a lock it can be rendered and read, but not baked."""

    name: str
    system: System
    users: tuple[User, ...]
    ssh: Ssh
    firewall: Firewall
    postgres: Postgres | None
    docker: Docker | None
    apps: tuple[App, ...]
    caddy: Caddy | None
    borg: Borg | None
    data: Data
    payloads: tuple[Payload, ...]
    lock: Lock | None

    def payload(self, name: str) -> Payload:
        """The payload of this name; KeyError when the plan has none."""
        for payload in self.payloads:
            if payload.name == name:
                return payload
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """What `boot.yaml` tells one server.

    `may_init` allows an empty database to be made: only for `promote --first` and throwaways.
    `operator_keys` are SSH public keys for `admin`, the spec's first user with sudo.
    `floating_ips` are addresses that the server answers to whenever they point at it.
    `first_key` is a throwaway SSH host key, private half: whoever made it can verify the first
    contact, at which the server is given one of its own.
    """

    hostname: str
    role: Role
    generation: int
    image_id: str
    admin: str
    operator_keys: tuple[str, ...] = ()
    may_init: bool = False
    floating_ips: tuple[str, ...] = ()
    first_key: str = ""


@dataclass(frozen=True, slots=True)
class OpsPlan:
    """How servers of this spec are run; none of it changes an image."""

    deploy: Deploy
    rebuild: Rebuild = field(default_factory=Rebuild)
    notify: Notify = field(default_factory=Notify)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole plan of one spec."""

    image: ImagePlan
    server: ServerPlan
    ops: OpsPlan


def resolve(spec: Spec, lock: Lock | None, payloads: tuple[Payload, ...]) -> Plan:
    """The plan of `spec`. Pure; `payloads` come from `specs.facts`."""
    admins = [user.name for user in spec.users if user.sudo]
    return Plan(
        image=ImagePlan(
            name=spec.name,
            system=_made_of(spec.system),
            users=spec.users,
            ssh=spec.ssh,
            firewall=spec.firewall,
            postgres=spec.postgres,
            docker=spec.docker,
            apps=spec.apps,
            caddy=spec.caddy,
            borg=spec.borg,
            data=spec.data,
            payloads=tuple(sorted(payloads)),
            lock=lock,
        ),
        server=ServerPlan(
            hostname=spec.system.hostname or spec.name,
            role="throwaway",
            generation=0,
            image_id="",
            admin=admins[0] if admins else "root",
        ),
        ops=OpsPlan(deploy=spec.deploy, rebuild=spec.rebuild, notify=spec.notify),
    )


def _made_of(system: System) -> System:
    """Without where packages come from: the lock knows them by their digests."""
    return replace(system, mirror="", security_mirror="", snapshot="", repositories=())
