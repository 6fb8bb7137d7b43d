"""What a booted image must be, from the plan alone, as plain data for the suite in `tests/image/`.

Written down apart from the sections that render the configuration: a section that forgets a unit
or a setting does not take the expectation with it.
"""

from __future__ import annotations

from typing import Any, Final

from cloudinit import swap
from cloudinit.accounts import account_numbers, accounts
from cloudinit.facts import image_tag
from cloudinit.firewall import open_ports
from specs import layout
from specs.model import App, Site, User
from specs.plan import ImagePlan, Plan

SSHD: Final = {
    "authenticationmethods": "publickey",
    "ciphers": "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes256-ctr,aes192-ctr,"
    "aes128-gcm@openssh.com,aes128-ctr",
    "kbdinteractiveauthentication": "no",
    "macs": "hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com",
    "maxsessions": "2",
    "passwordauthentication": "no",
    "permitemptypasswords": "no",
    "pubkeyauthentication": "yes",
    "requiredrsasize": "3072",
    "x11forwarding": "no",
}
"""Effective settings, as `sshd -T` prints them; algorithms as in ssh-audit's policy "Hardened
Debian 13 (version 1)"."""

ALWAYS: Final = (
    "bakehouse-firewall.service",
    "ssh.service",
    "systemd-journald.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
)


def expectations(
    plan: Plan, secrets: dict[str, str], *, vendor_base: bool = False
) -> dict[str, Any]:
    """Everything the suite compares a machine with; `secrets` are the planted values by name.

    An image on a `vendor_base` keeps the packages that its vendor put there.
    """
    image = plan.image
    lock = image.lock
    return {
        "name": image.name,
        "hostname": plan.server.hostname,
        "admin": plan.server.admin,
        "packages": {p.name: p.version for p in lock.image_packages()} if lock else {},
        "vendor_base": vendor_base,
        "people": [_person(image, user) for user in image.users],
        "accounts": {account.name: account.number for account in accounts(image)},
        "sshd": _sshd(plan),
        "kex_compat": image.ssh.kex == "compat",
        "ports": {
            protocol: sorted(port for name, port in open_ports(image) if name == protocol)
            for protocol in ("tcp", "udp")
        },
        "restricted": sorted({rule.port for rule in image.firewall.allow if rule.sources}),
        "units": units(image),
        "timers": timers(image),
        "sysctl": dict(image.system.sysctl),
        "timezone": image.system.timezone,
        "locale": image.system.locale,
        "postgres": _postgres(image),
        "docker": image.docker is not None,
        "apps": [_app(image, index, app) for index, app in enumerate(image.apps)],
        "sites": [_site(image, site) for site in (image.caddy.sites if image.caddy else ())],
        "borg": image.borg is not None,
        "secrets": secrets,
    }


def units(image: ImagePlan) -> list[str]:
    """Units that must be active once a machine has settled."""
    found = [*ALWAYS]
    if image.postgres:
        found += [
            "bakehouse-cluster.service",
            f"postgresql@{image.postgres.version}-main.service",
            "bakehouse-databases.service",
            "pgbouncer.service",
        ]
    if image.data.strategy == "replica":
        found.append("bakehouse-guard.service")
    found.append("bakehouse-data.service" if image.data.strategy == "volume" else "data.mount")
    if swap.holds(image):
        found += ["bakehouse-hold.service", "bakehouse-hold.socket"]
    if image.docker:
        found += ["containerd.service", "docker.service"]
    if image.apps:
        found += ["bakehouse-images.service", "bakehouse-watch.service"]
    found += [f"bakehouse-app@{app.name}.service" for app in image.apps]
    if image.caddy:
        found.append("caddy.service")
    return sorted(found)


def timers(image: ImagePlan) -> list[str]:
    """Timers that must wait for their time."""
    return ["bakehouse-backup.timer", "bakehouse-backup-check.timer"] if image.borg else []


def _sshd(plan: Plan) -> dict[str, str]:
    root = "prohibit-password" if plan.server.admin == "root" else "no"
    return {**SSHD, "permitrootlogin": root, "port": str(plan.image.ssh.port)}


def _person(image: ImagePlan, user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "uid": account_numbers(image)[user.name],
        "groups": sorted({user.name, *user.groups}),
        "keys": list(user.authorized_keys),
        "sudo": user.sudo,
        "shell": user.shell,
    }


def _postgres(image: ImagePlan) -> dict[str, Any] | None:
    if not image.postgres:
        return None
    return {
        "version": image.postgres.version,
        "pooling": image.postgres.pooling,
        "pooler": f"{layout.POOLER_ADDRESS}:{layout.POOLER_PORT}",
        "settings": dict(image.postgres.settings),
        "databases": [
            {"name": d.name, "owner": d.owner, "extensions": list(d.extensions)}
            for d in image.postgres.databases
        ],
    }


def _app(image: ImagePlan, index: int, app: App) -> dict[str, Any]:
    return {
        "name": app.name,
        "image": image_tag(image, app),
        "kind": app.kind,
        "replicas": app.replicas,
        "ports": layout.app_ports(index, app.replicas) if app.port else [],
        "health": app.health,
        "database": app.database,
        "secrets": list(app.secrets),
        "secret_environment": dict(app.secret_environment),
        "volumes": {
            f"{layout.DATA}/apps/{app.name}/{name}": target for name, target in app.volumes.items()
        },
    }


def _site(image: ImagePlan, site: Site) -> dict[str, Any]:
    app = next((app for app in image.apps if app.name == site.app), None)
    return {
        "addresses": [site.address, *site.aliases],
        "https": not site.address.startswith(("http://", ":")),
        "app": site.app,
        "health": app.health if app else "",
        "replicas": app.replicas if app else 0,
        "static": bool(site.static),
        "redirect": site.redirect,
        "headers": dict(site.headers),
        "compress": site.compress,
    }
