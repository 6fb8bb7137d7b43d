"""The cloud firewall of a spec's droplets: the ports that the image's own filter opens.

It holds for everything with the spec's tag, from the moment that a droplet is made. The vendor's
firewalls filter the private network as well, and what is not named is closed, outbound too: hence
the rules between the spec's own servers, and those outward.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_network
from typing import Any, Final

from cloudinit.firewall import open_ports
from images.providers import digitalocean_tags as tags
from images.providers.digitalocean_api import Api, MissingError, RefusedError
from specs.model import Spec
from specs.plan import resolve

EVERYWHERE: Final = {"addresses": ["0.0.0.0/0", "::/0"]}

Rule = dict[str, Any]


def ensure(api: Api, spec: Spec) -> None:
    """The firewall is there, with the rules that the spec has now; its tag must exist."""
    wanted = document(spec)
    found = _find(api, wanted["name"])
    if found is None:
        try:
            api.make(
                api.client.firewalls.create, body=wanted, find=lambda: _find(api, wanted["name"])
            )
            return
        except RefusedError as error:
            if error.status not in (409, 422) or (found := _find(api, wanted["name"])) is None:
                raise
    if _plain(found) != _plain(wanted):
        api.ask(api.client.firewalls.update, found["id"], body=wanted)


def delete(api: Api, spec: str) -> None:
    """The firewall of a spec is gone."""
    found = _find(api, f"bakehouse-{spec}")
    if found is not None:
        with suppress(MissingError):
            api.ask(api.client.firewalls.delete, found["id"])


def document(spec: Spec) -> Rule:
    """The firewall as the API takes it."""
    tag = tags.spec_tag(spec.name)
    peers = {"tags": [tag]}
    plan = resolve(spec, None, ()).image
    inbound = [
        {"protocol": "icmp", "ports": "0", "sources": EVERYWHERE},
        *({"protocol": kind, "ports": "all", "sources": peers} for kind in ("tcp", "udp")),
        *(
            {"protocol": kind, "ports": str(port), "sources": EVERYWHERE}
            for kind, port in sorted(open_ports(plan))
        ),
        *(
            {
                "protocol": rule.protocol,
                "ports": str(rule.port),
                "sources": {"addresses": [str(ip_network(s, strict=False)) for s in rule.sources]},
            }
            for rule in spec.firewall.allow
            if rule.sources
        ),
    ]
    outbound = [
        {"protocol": "icmp", "ports": "0", "destinations": EVERYWHERE},
        *({"protocol": k, "ports": "all", "destinations": EVERYWHERE} for k in ("tcp", "udp")),
    ]
    return {
        "name": f"bakehouse-{spec.name}",
        "inbound_rules": inbound,
        "outbound_rules": outbound,
        "tags": [tag],
    }


def _find(api: Api, name: str) -> Mapping[str, Any] | None:
    found = api.pages(api.client.firewalls.list, "firewalls")
    return next((one for one in found if one["name"] == name), None)


def _plain(found: Mapping[str, Any]) -> object:
    """To compare: the API answers `0` for all ports, and in an order of its own."""

    def rule(one: Mapping[str, Any]) -> tuple[object, ...]:
        ends = one.get("sources") or one.get("destinations") or {}
        ports = str(one.get("ports") or "all")
        pairs = [(key, tuple(sorted(value))) for key, value in ends.items() if value]
        return one["protocol"], "all" if ports == "0" else ports, tuple(sorted(pairs))

    lists = [sorted(map(rule, found.get(key) or ())) for key in ("inbound_rules", "outbound_rules")]
    return lists, sorted(found.get("tags") or ())
