"""What must be true between the values of a spec. Pure: `Spec` → findings."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from specs import layout, packages
from specs.model import App, Site, Spec

MAX_APPS: Final = 2000
"""Ports from `layout.APP_PORT_BASE` up, `layout.MAX_REPLICAS` for each, end at 60,000."""

_SYSTEM_ACCOUNTS: Final = {
    *packages.ACCOUNTS,
    *("root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp"),
    *("proxy", "www-data", "backup", "list", "irc", "_apt", "nobody", "messagebus", "sshd"),
    *("systemd-network", "systemd-resolve", "systemd-timesync", "polkitd", "dnsmasq"),
}
"""Accounts of Debian's base system and of the packages that we install."""

_ROLES: Final = {"postgres", "pgbouncer", "replicator", "public", "none"}
_DATABASES: Final = {"postgres", "template0", "template1", "pgbouncer"}
_OWN_DATA: Final = ("apps", "caddy", "postgres", "state", "docker")


@dataclass(frozen=True, slots=True)
class Finding:
    """One assertion that does not hold: at which key, what, and what to do."""

    path: tuple[str | int, ...]
    message: str
    hint: str = ""


def findings(spec: Spec) -> tuple[Finding, ...]:
    """Every assertion that does not hold for `spec`."""
    return tuple(found for assertion in _ASSERTIONS for found in assertion(spec))


def _near(word: str, known: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def _users(spec: Spec) -> Iterator[Finding]:
    for user in spec.users:
        if user.name in _SYSTEM_ACCOUNTS or user.name.startswith(("systemd-", "bakehouse")):
            yield Finding(
                ("users", user.name), "is an account of the system", "choose another name"
            )
    if not any(user.sudo for user in spec.users):
        yield Finding(
            ("users",), "has nobody with sudo", "give one user `sudo: true`, or nobody can operate"
        )


def _image_sources(spec: Spec) -> Iterator[Finding]:
    for app in spec.apps:
        given = [
            key
            for key, value in (
                ("image", app.image),
                ("archive", app.archive),
                ("build", app.build),
            )
            if value
        ]
        if len(given) != 1:
            yield Finding(
                ("apps", app.name),
                f"has {' and '.join(given)}" if given else "has no image",
                "an app has exactly one of image, archive, build",
            )
        if app.build and not app.build.packages:
            yield Finding(
                ("apps", app.name, "build"),
                "names no packages",
                "name at least the interpreter, for example `packages: [python3]`",
            )
        if app.build and not app.command:
            yield Finding(
                ("apps", app.name),
                "is built and has no command",
                "for example `command: [python3, /app/server.py]`",
            )


def _apps(spec: Spec) -> Iterator[Finding]:
    if len(spec.apps) > MAX_APPS:
        yield Finding(("apps",), f"are {len(spec.apps)}; {MAX_APPS} is the most")
    for app in spec.apps:
        here = ("apps", app.name)
        if app.health and not app.port:
            yield Finding(
                (*here, "health"), "needs a port", "add `port`, on which the app answers HTTP"
            )
        if app.kind == "worker" and app.replicas > 1:
            yield Finding(
                (*here, "replicas"),
                f"is {app.replicas}, and a worker never runs twice at once",
                "leave `replicas` out, or make two workers",
            )
        if app.publish and app.replicas > 1:
            yield Finding(
                (*here, "publish"),
                f"gives one port of the server to {app.replicas} replicas",
                "an app that publishes has one replica",
            )
        if app.database and "DATABASE_URL" in app.environment:
            yield Finding(
                (*here, "environment", "DATABASE_URL"),
                "is set by `database` already",
                "leave one of them out",
            )
        yield from _volumes(app)


def _volumes(app: App) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for name, target in app.volumes.items():
        here = ("apps", app.name, "volumes", name)
        for other_name, other in taken.items():
            inside = PurePosixPath(target).is_relative_to(other)
            if inside or PurePosixPath(other).is_relative_to(target):
                yield Finding(
                    here,
                    f"at {target} overlaps volume {other_name} at {other}",
                    "give each volume a path of its own",
                )
        if PurePosixPath(target).is_relative_to("/run/secrets"):
            yield Finding(here, "is where secrets are", "choose a path outside of /run/secrets")
        taken[name] = target


def _app_databases(spec: Spec) -> Iterator[Finding]:
    declared = [database.name for database in spec.postgres.databases] if spec.postgres else []
    for app in spec.apps:
        if app.database and app.database not in declared:
            add = f"add `postgres: {{databases: {{{app.database}: {{}}}}}}`"
            yield Finding(
                ("apps", app.name, "database"),
                f"there is no database {app.database} in postgres.databases",
                _near(app.database, declared, add),
            )


def _databases(spec: Spec) -> Iterator[Finding]:
    for database in spec.postgres.databases if spec.postgres else ():
        here = ("postgres", "databases", database.name)
        if database.name in _DATABASES:
            yield Finding(here, "is a database of the system", "choose another name")
        elif database.owner in _ROLES or database.owner.startswith(("pg_", "bakehouse")):
            yield Finding(
                (*here, "owner"),
                f"the role {database.owner} is the system's",
                "choose another owner",
            )


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
                (*here, "app"), f"there is no app {site.app}", _near(site.app, apps, otherwise)
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


def _data(spec: Spec) -> Iterator[Finding]:
    strategy = spec.data.strategy
    if strategy == "replica" and not spec.postgres:
        yield Finding(
            ("data", "strategy"), "is replica, and there is no Postgres", "add `postgres: {}`"
        )
    if strategy == "none" and spec.postgres:
        yield Finding(
            ("data", "strategy"),
            "is none, and a swap would lose what is in Postgres",
            "use replica or volume",
        )
    for index, path in enumerate(spec.data.paths):
        parts = PurePosixPath(path).parts
        if parts[:2] != ("/", "data") or len(parts) < 3:
            yield Finding(
                ("data", "paths", index),
                f"{path} is not below {layout.DATA}",
                f"only what is below {layout.DATA} outlives a server",
            )
        elif parts[2] in _OWN_DATA:
            yield Finding(
                ("data", "paths", index),
                f"{layout.DATA}/{parts[2]} is kept without being named",
                "remove it",
            )


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


def _repositories(spec: Spec) -> Iterator[Finding]:
    taken: set[str] = set()
    for index, repository in enumerate(spec.system.repositories):
        if repository.name in taken:
            yield Finding(
                ("system", "repositories", index, "name"),
                f"{repository.name} is taken by an earlier repository",
                "choose another name",
            )
        taken.add(repository.name)


_ASSERTIONS: Final[tuple[Callable[[Spec], Iterator[Finding]], ...]] = (
    _users,
    _image_sources,
    _apps,
    _app_databases,
    _databases,
    _site_targets,
    _site_addresses,
    _ports,
    _data,
    _acme,
    _subnet,
    _repositories,
)
