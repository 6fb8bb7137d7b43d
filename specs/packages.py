"""Which Debian packages a spec needs, by layer, and the numbers of the accounts they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from specs.model import Spec
from specs.plan import ImagePlan

BASE: Final = (
    "acl",
    "apparmor",
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "curl",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "initramfs-tools",
    "iproute2",
    "less",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "netbase",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "rsync",
    "sudo",
    "systemd",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "tzdata",
    "udev",
    "zstd",
)
"""On every server: the system, `rsync` to carry files at a promote, `curl` to probe, and `apparmor`
to confine what Docker runs."""

POSTGRES: Final = ("postgresql-17", "pgbouncer")
DOCKER: Final = ("docker.io", "docker-cli", "docker-compose", "iptables")
CADDY: Final = ("caddy",)
BORG: Final = ("borgbackup", "openssh-client")
REPLICA: Final = ("openssh-client",)

TOOLS: Final = (
    "coreutils",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "libarchive13t64",
    "mtools",
    "tar",
    "zstd",
)
"""The tools layer: whatever shapes the bits of a disk runs from it, never from the host."""

ACCOUNTS: Final[Mapping[str, int]] = {
    "postgres": 540,
    "pgbouncer": 541,
    "caddy": 542,
    "docker": 543,
    "bakehouse-peer": 544,
}
"""System accounts that own data, with fixed numbers: data outlives images.

Otherwise a number depends on the order of installation: adduser counts up from 100 and
systemd-sysusers down from 999, so the middle stays free. They must stay below 1000 (`SYS_UID_MAX`):
logind's `RemoveIPC` takes the shared memory of any other account when its last session ends, which
kills a Postgres (PostgreSQL documentation, "Managing Kernel Resources", systemd RemoveIPC).
"""

PEER_ACCOUNT: Final = "bakehouse-peer"
"""How the other server of a pair gets in."""

FIRST_PERSON: Final = 1000
"""The number of the spec's first user; Debian's `FIRST_UID`."""


def layers(spec: Spec | ImagePlan) -> dict[str, tuple[str, ...]]:
    """The names wanted in each layer, dependencies not counted.

    They stand on one another as `specs.lock.STACK` says; `core` has the essential packages, too,
    whose names the archive knows. Sorted, and the same for specs that want the same.
    """
    services: set[str] = set()
    if spec.postgres:
        services.update(POSTGRES)
    if spec.docker:
        services.update(DOCKER)
    if spec.caddy:
        services.update(CADDY)
    if spec.borg:
        services.update(BORG)
    if spec.data.strategy == "replica":
        services.update(REPLICA)
    spoken = () if spec.system.locale == "C.UTF-8" else ("locales",)
    wanted = {
        "core": ("apt",),
        "base": tuple(sorted({*BASE, *spoken})),
        "services": tuple(sorted(services)),
        "extra": tuple(sorted(set(spec.system.packages))),
        "tools": TOOLS,
    }
    for app in spec.apps:
        if app.build:
            wanted[f"app:{app.name}"] = tuple(sorted(set(app.build.packages)))
    return wanted


def numbers(spec: Spec | ImagePlan) -> dict[str, int]:
    """Accounts and their numbers: the fixed ones, then the spec's users from `FIRST_PERSON` up."""
    people = {user.name: FIRST_PERSON + index for index, user in enumerate(spec.users)}
    return {**ACCOUNTS, **people}
