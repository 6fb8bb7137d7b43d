"""What must be true of sites, ports and networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from specs import layout
from specs.finding import Finding, near
from specs.model import Site, Spec


def _site_targets(spec: Spec) -> Iterator[Finding]:
    apps = {app.name: app for app in spec.apps}
    for site in spec.caddy.sites if spec.caddy else ():
        here = ("caddy", "sites", site.address)
        given = [key for key in ("app", "static", "redirect") if getattr(site, key)]
        if len(given) != 1:
            yield Finding(
                here,
                f"has {' and '.join(given)}" if given else "serves nothing",
                "a site has exactly one of app, static, redirect",
            )
        app = apps.get(site.app)
        if site.app and not app:
            otherwise = f"the apps are {', '.join(apps)}" if apps else "add it to `apps`"
            yield Finding(
                (*here, "app"), f"there is no app {site.app}", near(site.app, apps, otherwise)
            )
        elif app and app.kind == "worker":
            yield Finding(
                (*here, "app"), f"{app.name} is a worker", "only an app of kind web has sites"
            )
        elif app and not app.port:
            yield Finding(
                (*here, "app"), f"{app.name} has no port", f"add `port` to apps.{app.name}"
            )


def _site_addresses(spec: Spec) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for site in spec.caddy.sites if spec.caddy else ():
        for path, address in _addresses(site):
            if address in taken:
                yield Finding(
                    path, f"{address} is served by site {taken[address]} already", "remove one"
                )
            else:
                taken[address] = site.address
        if site.redirect.rstrip("/") in {
            site.address,
            f"https://{site.address}",
        }:
            yield Finding(
                ("caddy", "sites", site.address, "redirect"),
                "sends visitors to the same site again",
                "name another address",
            )


def _addresses(site: Site) -> Iterator[tuple[tuple[str | int, ...], str]]:
    here = ("caddy", "sites", site.address)
    yield here, site.address
    for index, alias in enumerate(site.aliases):
        yield (*here, "aliases", index), alias


def _ports(spec: Spec) -> Iterator[Finding]:
    """Each port of the server has one use. `firewall.allow` is no use, and may not repeat one."""
    taken: dict[tuple[int, str], str] = {(spec.ssh.port, "tcp"): "ssh"}
    sites = spec.caddy.sites if spec.caddy else ()
    if sites:
        for port in (80, 443):
            if port == spec.ssh.port:
                yield Finding(("ssh", "port"), f"{port} is Caddy's", "choose another port")
            taken[(port, "tcp")] = "Caddy"
    own = {layout.POOLER_PORT: "PgBouncer", 5432: "Postgres"} if spec.postgres else {}
    taken.update({(port, "tcp"): user for port, user in own.items()})
    if spec.ssh.port in own or _app_range(spec, spec.ssh.port):
        user = own.get(spec.ssh.port, "the apps")
        yield Finding(("ssh", "port"), f"{spec.ssh.port} is taken by {user}", "choose another port")
    for app in spec.apps:
        for index, publish in enumerate(app.publish):
            key = (publish.port, publish.protocol)
            here = ("apps", app.name, "publish", index, "port")
            user = taken.get(key, "the apps" if _app_range(spec, publish.port) else "")
            if user:
                yield Finding(
                    here, f"{publish.port}/{publish.protocol} is taken by {user}", "choose another"
                )
            taken.setdefault(key, f"app {app.name}")
    for index, rule in enumerate(spec.firewall.allow):
        user = taken.get((rule.port, rule.protocol), "")
        spot = ("firewall", "allow", index, "port")
        if user in ("PgBouncer", "Postgres"):
            yield Finding(
                spot,
                f"{rule.port} is {user}'s",
                "nobody outside reaches the database; use a tunnel",
            )
        elif user:
            yield Finding(
                spot,
                f"{rule.port}/{rule.protocol} is open for {user} already",
                "remove this rule",
            )
        taken.setdefault((rule.port, rule.protocol), "an earlier rule")


def _app_range(spec: Spec, port: int) -> bool:
    """Whether replicas of the apps listen on this port of the loopback device."""
    slots = len(spec.apps) * layout.MAX_REPLICAS
    return layout.APP_PORT_BASE <= port < layout.APP_PORT_BASE + slots


def _acme(spec: Spec) -> Iterator[Finding]:
    if spec.caddy and spec.caddy.acme_root and not spec.caddy.acme_directory:
        yield Finding(("caddy", "acme_root"), "needs acme_directory", "name the CA's directory")


def _subnet(spec: Spec) -> Iterator[Finding]:
    if not spec.docker:
        return
    network = ipaddress.ip_network(spec.docker.subnet)
    if ipaddress.ip_address(layout.POOLER_ADDRESS) in network:
        yield Finding(
            ("docker", "subnet"),
            f"holds {layout.POOLER_ADDRESS}, PgBouncer's address",
            "choose another network",
        )
    room = 2 ** (24 - network.prefixlen) - 1  # the first is the default bridge's
    if len(spec.apps) > room:
        yield Finding(
            ("docker", "subnet"), f"has room for {room} apps", "name a larger private network"
        )


ASSERTIONS: Final = (_site_targets, _site_addresses, _ports, _acme, _subnet)
