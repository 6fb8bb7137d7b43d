"""The packet filter: one nftables table of our own, beside whatever Docker keeps.

Docker publishes a port by rewriting the destination in prerouting, which an input chain never
sees (moby/moby#22054); so the judgement falls before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from cloudinit.accounts import account_numbers
from cloudinit.part import File, Part
from cloudinit.postgres import client_limit
from cloudinit.swap import web_ports
from cloudinit.template import render
from specs import layout
from specs.model import Rule
from specs.packages import PEER_ACCOUNT
from specs.plan import ImagePlan

RULES: Final = f"{layout.ETC}/firewall.nft"
BRIDGES: Final = ("docker0", "br-*")
"""Docker's own bridge, and all others: our apps' (`br-app<n>`), and those made by hand."""

METADATA: Final = "169.254.169.254"
"""Where Hetzner and DigitalOcean serve a machine its user data."""


@dataclass(frozen=True, slots=True)
class Restricted:
    """A port for some networks of one address family, `ip` or `ip6`."""

    family: str
    protocol: str
    port: int
    sources: tuple[str, ...]


def part(plan: ImagePlan) -> Part:
    """The rules, and the unit that loads them before any link comes up."""
    replica = plan.data.strategy == "replica"
    numbers = account_numbers(plan)
    rules = render(
        "firewall/firewall.nft.j2",
        ssh_port=plan.ssh.port,
        public=_public(plan),
        restricted=[found for rule in plan.firewall.allow for found in _restricted(rule)],
        containers=plan.docker is not None,
        bridges=", ".join(f'"{name}"' for name in BRIDGES),
        pooler_address=layout.POOLER_ADDRESS,
        pooler_port=layout.POOLER_PORT,
        pooler_limit=client_limit(plan) if plan.postgres and plan.docker else 0,
        metadata=METADATA,
        tunnel_port=layout.TUNNEL_PORT,
        link_local="169.254.0.0/16",
        peer=numbers[PEER_ACCOUNT] if replica else 0,
        peer_ports=web_ports(plan),
        people=[numbers[user.name] for user in plan.users if not user.sudo],
        inner=_inner(plan),
    )
    unit = render("firewall/firewall.service.j2", rules=RULES)
    return Part(
        files=(
            File(RULES, rules, mode="0600"),
            File("/etc/systemd/system/bakehouse-firewall.service", unit),
        ),
        commands=(f"nft --check --file {RULES}",),
        enable=("bakehouse-firewall.service",),
        mask=("nftables.service",),
    )


def open_ports(plan: ImagePlan) -> frozenset[tuple[str, int]]:
    """The `(protocol, port)` pairs that everyone outside may reach."""
    ports = {("tcp", plan.ssh.port)}
    if plan.caddy and plan.caddy.sites:
        ports |= {("tcp", 80), ("tcp", 443)}
    ports |= {(publish.protocol, publish.port) for app in plan.apps for publish in app.publish}
    ports |= {(rule.protocol, rule.port) for rule in plan.firewall.allow if not rule.sources}
    return frozenset(ports)


def _inner(plan: ImagePlan) -> list[str]:
    """What people without sudo do not reach, as `address . port`: the apps' ports, those that lead
    to the peer's same replicas, where requests are held, and the pooler."""
    ports = web_ports(plan)
    if ports and plan.data.strategy == "replica":
        ports = [layout.HOLD_PORT, *ports, *(port + layout.PEER_PORTS for port in ports)]
    pooler = [f"{layout.POOLER_ADDRESS} . {layout.POOLER_PORT}"] if plan.postgres else []
    return [*(f"127.0.0.1 . {port}" for port in ports), *pooler]


def _public(plan: ImagePlan) -> list[tuple[str, list[int]]]:
    """Open ports by protocol, without SSH: containers have no business there."""
    found = open_ports(plan) - {("tcp", plan.ssh.port)}
    by_protocol = {
        protocol: sorted(port for name, port in found if name == protocol)
        for protocol in ("tcp", "udp")
    }
    return [(protocol, ports) for protocol, ports in by_protocol.items() if ports]


def _restricted(rule: Rule) -> list[Restricted]:
    networks = [ip_network(source, strict=False) for source in rule.sources]
    found = []
    for version, family in ((4, "ip"), (6, "ip6")):
        sources = tuple(sorted({str(net) for net in networks if net.version == version}))
        if sources:
            found.append(Restricted(family, rule.protocol, rule.port, sources))
    return found
