"""A plan to render, with every section in it."""

from __future__ import annotations

import pytest

from specs.lock import Lock, LockedPackage
from specs.model import (
    App,
    Borg,
    Caddy,
    Database,
    Docker,
    Firewall,
    Postgres,
    Publish,
    Rule,
    Site,
    Spec,
    User,
)
from specs.packages import numbers
from specs.plan import ImagePlan, Payload, resolve

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEh1/F8YX2Tm6N5GvGQaDxob00sSBfx5+j9dMuERZR8u someone"


@pytest.fixture
def spec() -> Spec:
    """A server that declares something of everything."""
    return Spec(
        name="full",
        users=(User("deploy", (KEY,), sudo=True, groups=("docker",)), User("reader")),
        firewall=Firewall((Rule(9100, "tcp", ("fd00::/8", "10.1.0.0/16")), Rule(51820, "udp"))),
        postgres=Postgres(databases=(Database("shop", "shop"),)),
        docker=Docker(),
        apps=(
            App("shop", archive="shop.tar", port=8000, database="shop"),
            App("git", archive="git.tar", publish=(Publish(8022, 22),)),
        ),
        caddy=Caddy(sites=(Site("example.org", app="shop"),)),
        borg=Borg("ssh://backup@backup.example.org/./full"),
    )


@pytest.fixture
def plan(spec: Spec) -> ImagePlan:
    """The same, locked to two packages."""
    packages = tuple(
        LockedPackage(name, version, "amd64", "debian", f"pool/{name}.deb", "0" * 64, 1)
        for name, version in (("zstd", "1.5.7+dfsg-1"), ("acl", "2.3.2-2+b1"))
    )
    lock = Lock(1_700_000_000, "trixie", "amd64", {"base": packages}, {}, numbers(spec))
    payloads = tuple(
        Payload(f"app/{app.name}", digit * 64, "/usr/lib/bakehouse/images")
        for app, digit in zip(spec.apps, "ab", strict=True)
    )
    return resolve(spec, lock, payloads).image
