"""Private networks, firewalls and floating IPs at Hetzner."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any, Final

from hcloud import APIException
from hcloud.firewalls import FirewallRule
from hcloud.locations import Location
from hcloud.networks import NetworkSubnet

from cloudinit.firewall import open_ports
from images.providers import hetzner_servers
from images.providers.base import SPEC, FloatingIp
from images.providers.hetzner_api import Api
from images.providers.local_state import word
from specs.errors import BakehouseError, UsageError
from specs.model import Spec
from specs.plan import resolve

RANGE: Final = "10.131.0.0/16"
"""Of the private network of a spec's servers; no address of `specs.layout` lies in it."""

EVERYWHERE: Final = ["0.0.0.0/0", "::/0"]
V6: Final = "-v6"
"""What follows the name of a floating IP for the one of the other family."""


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


def floating_ip(api: Api, name: str) -> FloatingIp:
    """The floating IP of this name, or with this address, as Hetzner has it now. It is at a server
    when both families are."""
    found = api.ask(f"look for the floating IP {name}", lambda: _found(api, name))
    v4, v6 = found.get("ipv4"), found.get("ipv6")
    holders = {str(one.server.id) if one.server else "" for one in found.values()}
    return FloatingIp(
        name,
        v4.ip if v4 else "",
        str(ip_network(v6.ip)[1]) if v6 else "",
        holders.pop() if len(holders) == 1 else "",
    )


def create_floating_ip(api: Api, name: str, spec: str, place: str) -> FloatingIp:
    """One of each family, called `name` and `name-v6`, unless they are there. An address is one
    that exists already."""
    if not _is_address(name):
        for kind, called in (("ipv4", name), ("ipv6", f"{name}{V6}")):

            def attempt(kind: str = kind, called: str = called) -> None:
                if kind not in _found(api, name):
                    api.client.floating_ips.create(
                        type=kind,
                        name=word(called, "a floating IP's name"),
                        home_location=Location(name=place),
                        labels={SPEC: spec},
                    )

            api.repeat(f"make the floating IP {called}", attempt)
    return floating_ip(api, name)


def assign(api: Api, name: str, server: str) -> None:
    """Point both families at a server, or at none.

    Raises BakehouseError when there is no such floating IP or server.
    """
    what = f"point the floating IP {name} at {server or 'no server'}"

    def attempt() -> None:
        found = _found(api, name)
        if not found:
            raise BakehouseError(
                f"there is no floating IP {name} at Hetzner", "`invoke status` shows its name"
            )
        target = hetzner_servers.known(api, server) if server else None
        for one in found.values():
            held = one.server.id if one.server else None
            if held == (target.id if target else None):
                continue
            try:
                moved = one.assign(target) if target else one.unassign()
            except APIException as error:
                # It says so, too, of what an earlier request, whose answer was lost, has done.
                if error.code in ("floating_ip_assigned", "floating_ip_not_assigned"):
                    continue
                raise
            api.await_all(what, [moved])

    api.repeat(what, attempt)
    api.until(what, lambda: floating_ip(api, name).server == server)


def forget(api: Api, spec: str) -> None:
    """The floating IPs, the network and the firewall of a spec are gone."""
    for kind in ("floating_ips", "networks", "firewalls"):
        what = f"delete the {kind.replace('_', ' ')} of {spec}"

        def attempt(kind: str = kind) -> None:
            client = getattr(api.client, kind)
            for found in client.get_all(label_selector=f"{SPEC}=={spec}"):
                client.delete(found)

        api.repeat(what, attempt)


def _found(api: Api, name: str) -> dict[str, Any]:
    """By family; to be called within an attempt."""
    every = api.client.floating_ips.get_all()
    if _is_address(name):
        return {one.type: one for one in every if ip_address(name) in ip_network(one.ip)}
    names = {"ipv4": name, "ipv6": f"{name}{V6}"}
    return {one.type: one for one in every if one.name == names[one.type]}


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
