"""Private networks and firewalls at Hetzner."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Final

from hcloud.firewalls import FirewallRule
from hcloud.networks import NetworkSubnet

from cloudinit.firewall import open_ports
from images.providers.base import SPEC
from images.providers.hetzner_api import Api
from specs.errors import BakehouseError, UsageError
from specs.model import Spec
from specs.plan import resolve

RANGE: Final = "10.131.0.0/16"
"""Of the private network of a spec's servers; no address of `specs.layout` lies in it."""

EVERYWHERE: Final = ["0.0.0.0/0", "::/0"]


def network(api: Api, spec: str, place: str) -> Any:
    """The private network of a spec's servers, made when there is none, in the network zone of a
    location: servers of another zone cannot join it."""

    def attempt() -> Any:
        found = api.client.networks.get_by_name(spec)
        if found is not None:
            return _ours(found, "network", spec)
        located = api.client.locations.get_by_name(place)
        if located is None:
            raise UsageError(f"Hetzner has no location {place}", "see `deploy.locations`")
        zone = located.network_zone
        part = NetworkSubnet(ip_range=RANGE, type=NetworkSubnet.TYPE_CLOUD, network_zone=zone)
        return api.client.networks.create(
            name=spec, ip_range=RANGE, subnets=[part], labels={SPEC: spec}
        )

    return api.repeat(f"make the private network {spec}", attempt)


def firewall(api: Api, spec: Spec) -> Any:
    """The firewall of a spec's servers, with the rules that the spec has now.

    It filters public addresses only: what the two servers of a pair say to each other goes by the
    private network (Hetzner's documentation of firewalls).
    """
    what, wanted = f"set the firewall {spec.name}", rules(spec)

    def attempt() -> Any:
        found = api.client.firewalls.get_by_name(spec.name)
        if found is None:
            made = api.client.firewalls.create(
                name=spec.name, rules=wanted, labels={SPEC: spec.name}
            )
            api.await_all(what, made.actions or [])
            return made.firewall
        if _plain(_ours(found, "firewall", spec.name).rules) != _plain(wanted):
            api.await_all(what, found.set_rules(wanted))
        return found

    return api.repeat(what, attempt)


def _ours(found: Any, kind: str, spec: str) -> Any:
    if (found.labels or {}).get(SPEC) != spec:
        raise BakehouseError(
            f"the {kind} {spec} at Hetzner is not ours: it has no label {SPEC}={spec}",
            "rename it, or delete it",
        )
    return found


def rules(spec: Spec) -> list[FirewallRule]:
    """The ports that the image's own filter opens, and what the network needs to tell (ICMP)."""
    plan = resolve(spec, None, ()).image
    found = [FirewallRule(direction="in", protocol="icmp", source_ips=EVERYWHERE)]
    found += [
        FirewallRule(direction="in", protocol=protocol, port=str(port), source_ips=EVERYWHERE)
        for protocol, port in sorted(open_ports(plan))
    ]
    found += [
        FirewallRule(
            direction="in",
            protocol=rule.protocol,
            port=str(rule.port),
            source_ips=[str(ip_network(source, strict=False)) for source in rule.sources],
        )
        for rule in spec.firewall.allow
        if rule.sources
    ]
    return found


def _plain(listed: list[FirewallRule] | None) -> list[tuple[object, ...]]:
    return sorted(
        (one.direction, one.protocol, str(one.port), tuple(sorted(one.source_ips)))
        for one in listed or ()
    )


def forget(api: Api, spec: str) -> None:
    """The floating IPs, the network and the firewall of a spec are gone."""
    for kind in ("floating_ips", "networks", "firewalls"):
        what = f"delete the {kind.replace('_', ' ')} of {spec}"

        def attempt(kind: str = kind) -> None:
            client = getattr(api.client, kind)
            for found in client.get_all(label_selector=f"{SPEC}=={spec}"):
                client.delete(found)

        api.repeat(what, attempt)
