"""What an account at DigitalOcean has, and how the API shows it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

from images.network import Address
from images.providers.base import Status
from tests.emulators.actions import Action
from tests.emulators.served import Answer, Refusal, Request

Json = dict[str, Any]
T = TypeVar("T")

GIB: Final = 1 << 30
REGIONS: Final = ("ams3", "fra1", "nyc3")
SIZES: Final = {"s-1vcpu-1gb": (1, 1024, 25, 6.0), "s-2vcpu-4gb": (2, 4096, 80, 24.0)}
"""Slug: processors, MiB of memory, GiB of disk, dollars a month (invented, in the right order)."""

BASES: Final = {"debian-13-x64": "13 x64", "debian-12-x64": "12 x64"}


def now() -> str:
    """The time as the API writes it."""
    return stamp(datetime.now(UTC))


def stamp(when: datetime) -> str:
    """A time as the API writes it."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


class Substrate(Protocol):
    """What droplets are made of: `tests.emulators.machines.Machines`, or paper."""

    def create(
        self,
        name: str,
        image: str,
        user_data: str,
        *,
        keys: Sequence[str] = (),
        further: Sequence[str] = (),
        metadata: str = "",
    ) -> str: ...
    def status(self, server: str) -> Status: ...
    def address(self, server: str) -> Address: ...
    def power_on(self, server: str) -> None: ...
    def power_off(self, server: str) -> None: ...
    def reset(self, server: str) -> None: ...
    def shutdown(self, server: str) -> None: ...
    def reboot(self, server: str) -> None: ...
    def await_off(self, server: str) -> bool: ...
    def delete(self, server: str) -> None: ...
    def snapshot(self, server: str, key: str) -> int: ...
    def delete_image(self, key: str) -> None: ...
    def floating(self, name: str) -> tuple[str, str]: ...
    def assign(self, name: str, server: str) -> None: ...
    def create_volume(self, name: str, size: int) -> None: ...
    def attach(self, name: str, server: str) -> str: ...
    def detach(self, name: str) -> None: ...
    def delete_volume(self, name: str) -> None: ...


@dataclass(slots=True)
class Key:
    """An SSH key of the account."""

    id: int
    name: str
    public_key: str

    @property
    def fingerprint(self) -> str:
        """As OpenSSH wrote it when MD5 was the custom."""
        blob = base64.b64decode(self.public_key.split()[1])
        return hashlib.md5(blob, usedforsecurity=False).digest().hex(":")

    def shown(self) -> Json:
        """As the API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "public_key": self.public_key,
            "fingerprint": self.fingerprint,
        }


@dataclass(slots=True)
class Image:
    """An image. `key` is the substrate's; `kind` is the API's `type`."""

    id: int
    name: str
    kind: str
    key: str
    regions: list[str]
    tags: list[str] = field(default_factory=list)
    slug: str = ""
    status: str = "available"
    why: str = ""
    size: int = 0
    created: str = field(default_factory=now)

    def shown(self) -> Json:
        """As the API shows it."""
        found: Json = {
            "id": self.id,
            "name": self.name,
            "type": self.kind,
            "distribution": "Debian",
            "slug": self.slug or None,
            "public": self.kind == "base",
            "regions": [*self.regions],
            "created_at": self.created,
            "min_disk_size": 10,
            "size_gigabytes": round(self.size / GIB, 2),
            "description": "",
            "tags": [*self.tags],
            "status": self.status,
        }
        return {**found, "error_message": self.why} if self.why else found


@dataclass(slots=True)
class Droplet:
    """A droplet; `machine` is the substrate's server, "" until there is one."""

    id: int
    name: str
    region: str
    size: str
    image: Image
    tags: list[str]
    vpc: str
    machine: str = ""
    created: str = field(default_factory=now)

    @property
    def private(self) -> str:
        """Its address in the VPC."""
        return f"10.114.0.{2 + self.id % 250}"

    @property
    def anchor(self) -> str:
        """Where a reserved IP arrives; a droplet of a custom image has none."""
        return "" if self.image.kind == "custom" else f"10.19.0.{5 + self.id % 250}"


@dataclass(slots=True)
class Volume:
    """A volume; `device` is the substrate's name for it."""

    id: str
    name: str
    size: int
    region: str
    tags: list[str]
    droplet: int = 0

    def shown(self) -> Json:
        """As the API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "region": region(self.region),
            "droplet_ids": [self.droplet] if self.droplet else [],
            "description": "",
            "size_gigabytes": self.size,
            "created_at": now(),
            "filesystem_type": "ext4",
            "filesystem_label": "",
            "tags": [*self.tags],
        }


@dataclass(slots=True)
class ReservedIp:
    """A reserved IP; `key` is the substrate's name for it."""

    ip: str
    key: str
    region: str
    droplet: int = 0


def metadata(found: Droplet) -> str:
    """What the vendor's metadata tells a droplet of itself, as far as Bakehouse asks."""
    if not found.anchor:
        return ""
    anchor = {"ip_address": found.anchor, "netmask": "255.255.0.0", "gateway": "10.19.0.1"}
    return f"interfaces: {json.dumps({'public': [{'anchor_ipv4': anchor}]})}\n"


def droplet(found: Droplet, status: str, address: str, volumes: Sequence[str]) -> Json:
    """As the API shows it; without an address it has no networks yet."""
    vcpus, memory, disk, _ = SIZES[found.size]
    networks = (
        [
            _network(address, "255.255.255.0", "198.51.100.1", "public"),
            _network(found.private, "255.255.240.0", "10.114.0.1", "private"),
        ]
        if address
        else []
    )
    return {
        "id": found.id,
        "name": found.name,
        "memory": memory,
        "vcpus": vcpus,
        "disk": disk,
        "locked": status == "new",
        "status": status,
        "kernel": None,
        "created_at": found.created,
        "features": ["private_networking"],
        "backup_ids": [],
        "next_backup_window": None,
        "snapshot_ids": [],
        "image": found.image.shown(),
        "volume_ids": [*volumes],
        "size": size(found.size),
        "size_slug": found.size,
        "networks": {"v4": networks, "v6": []},
        "region": region(found.region),
        "tags": [*found.tags],
        "vpc_uuid": found.vpc,
    }


def _network(address: str, netmask: str, gateway: str, kind: str) -> Json:
    return {"ip_address": address, "netmask": netmask, "gateway": gateway, "type": kind}


def region(slug: str) -> Json:
    """A region as the API shows it."""
    return {
        "slug": slug,
        "name": slug.upper(),
        "features": ["backups", "ipv6", "metadata", "storage"],
        "available": True,
        "sizes": [*SIZES],
    }


def size(slug: str) -> Json:
    """A size as the API shows it."""
    vcpus, memory, disk, price = SIZES[slug]
    return {
        "slug": slug,
        "memory": memory,
        "vcpus": vcpus,
        "disk": disk,
        "transfer": 4.0,
        "price_monthly": price,
        "price_hourly": round(price / 672, 5),
        "regions": [*REGIONS],
        "available": True,
        "description": "Basic",
    }


def action(found: Action, time_now: float) -> Json:
    """An action as the API shows it. `about` is its resource's type, number and region."""
    kind, number, slug = found.about
    over = found.over(time_now)
    status = ("errored" if found.error else "completed") if over else "in-progress"
    return {
        "id": found.id,
        "status": status,
        "type": found.command,
        "started_at": stamp(found.started),
        "completed_at": stamp(found.finished or found.started) if over else None,
        "resource_id": number,
        "resource_type": kind,
        "region": region(slug),
        "region_slug": slug,
    }


def ok(key: str, shown: Json, status: int = 200) -> Answer:
    """One thing."""
    return Answer(status, {key: shown})


def listed(request: Request, key: str, found: Sequence[Json]) -> Answer:
    """One page of a list, with links to others."""
    number = int(request.first("page", "1"))
    length = int(request.first("per_page", "20"))
    first = (number - 1) * length
    links: Json = {}
    if len(found) > first + length:
        address = "https://api.digitalocean.com/v2/list?page="
        last = -(-len(found) // length)
        links = {"pages": {"next": f"{address}{number + 1}", "last": f"{address}{last}"}}
    shown = found[first : first + length]
    return Answer(200, {key: shown, "links": links, "meta": {"total": len(found)}})


def known(found: T | None, what: str = "The resource you were accessing could not be found.") -> T:
    """What was looked for. Refused with 404 when there is none."""
    if found is None:
        raise Refusal(404, "not_found", what)
    return found


def refuse(message: str, status: int = 422, code: str = "unprocessable_entity") -> Refusal:
    """An answer that says no."""
    return Refusal(status, code, message)
