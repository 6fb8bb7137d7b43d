"""What a server needs to change places with another one: guard, peer, hand and the swap itself.

`images/server/hand.py` says what the peer may do, `images/server/roles.py` who may write.
"""

from __future__ import annotations

from typing import Final

from cloudinit.data import hardening
from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.packages import PEER_ACCOUNT
from specs.plan import ImagePlan

FOLDER: Final = "/var/lib/bakehouse/peer"
"""What this server knows of its peer, and its own key."""

SOCKETS: Final = f"{layout.RUN}/peer"
"""Where the peer's Postgres is found."""

SHUT: Final = "flush set inet bakehouse peer_ssh4; flush set inet bakehouse peer_ssh6"
"""For nft: the peer's account reaches no other server."""

_UNITS: Final = "/etc/systemd/system"


def part(plan: ImagePlan) -> Part:
    """Units, the peer's account and its way in; nothing unless the data is a replica's."""
    if plan.data.strategy != "replica":
        return Part()
    assert plan.postgres is not None  # validation: a replica has Postgres
    values: dict[str, object] = {
        "account": PEER_ACCOUNT,
        "folder": FOLDER,
        "sockets": SOCKETS,
        "shut": SHUT,
        "hardening": hardening(),
        "ports": web_ports(plan),
        "port": layout.HOLD_PORT,
        "version": plan.postgres.version,
    }
    units = ["guard.service", "peer.service", "swap.service"]
    if holds(plan):
        units += ["hold.socket", "hold.service"]

    def file(path: str, template: str, mode: str = "0644") -> File:
        return File(path, render(f"swap/{template}.j2", **values), mode)

    return Part(
        files=(
            *(file(f"{_UNITS}/bakehouse-{unit}", unit) for unit in units),
            file("/etc/ssh/sshd_config.d/20-bakehouse-peer.conf", "sshd.conf", "0600"),
            file("/etc/sudoers.d/bakehouse-peer", "sudoers", "0440"),
            file("/etc/tmpfiles.d/bakehouse-swap.conf", "tmpfiles.conf"),
        ),
        commands=(
            f"usermod --append --groups pgbouncer {PEER_ACCOUNT}",
            "visudo --check --quiet",
        ),
        enable=tuple(f"bakehouse-{unit}" for unit in units),
    )


def web_ports(plan: ImagePlan) -> list[int]:
    """The loopback ports that the peer may reach: every replica of every web app."""
    return [
        port
        for index, app in enumerate(plan.apps)
        if app.port
        for port in layout.app_ports(index, app.replicas)
    ]


def holds(plan: ImagePlan) -> bool:
    """Whether requests are held in a swap: some web app keeps files that are carried."""
    if plan.data.strategy != "replica":
        return False
    return plan.caddy is not None and any(app.volumes and app.port for app in plan.apps)
