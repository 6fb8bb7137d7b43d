"""What must be true between the values of a spec. Pure: `Spec` → findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Final

from specs import assertions_apps, assertions_network, assertions_secrets, layout, packages
from specs.finding import Finding
from specs.model import Spec
from specs.timing import fits, parse_when, parse_window

_SYSTEM_ACCOUNTS: Final = {
    *packages.ACCOUNTS,
    *("root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp"),
    *("proxy", "www-data", "backup", "list", "irc", "_apt", "nobody", "messagebus", "sshd"),
    *("systemd-network", "systemd-resolve", "systemd-timesync", "polkitd", "dnsmasq"),
}
"""Accounts of Debian's base system and of the packages that we install."""

_OWN_DATA: Final = ("apps", "caddy", "postgres", "state", "docker")


def findings(spec: Spec) -> tuple[Finding, ...]:
    """Every assertion that does not hold for `spec`."""
    return tuple(found for assertion in _ASSERTIONS for found in assertion(spec))


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


def _rebuild(spec: Spec) -> Iterator[Finding]:
    wanted = spec.rebuild
    if wanted.policy == "promote" and wanted.window:
        when, window = parse_when(wanted.schedule), parse_window(wanted.window)
        if not fits(when, window):
            yield Finding(
                ("rebuild", "window"),
                f"does not hold the schedule, {wanted.schedule} and up to an hour later: a run "
                "would never swap",
                "let the window open before the schedule, and close two hours after it",
            )


_OWN_ARCHIVES: Final = ("debian", "debian-security")
"""What a lock calls Debian's own (`images.archive.sources`)."""


def _repositories(spec: Spec) -> Iterator[Finding]:
    taken: set[str] = set()
    for index, repository in enumerate(spec.system.repositories):
        if repository.name in (*taken, *_OWN_ARCHIVES):
            by = "an earlier repository" if repository.name in taken else "Debian's own archive"
            yield Finding(
                ("system", "repositories", index, "name"),
                f"{repository.name} is taken by {by}",
                "choose another name",
            )
        taken.add(repository.name)


_ASSERTIONS: Final[tuple[Callable[[Spec], Iterator[Finding]], ...]] = (
    _users,
    *assertions_apps.ASSERTIONS,
    *assertions_secrets.ASSERTIONS,
    *assertions_network.ASSERTIONS,
    _data,
    _rebuild,
    _repositories,
)
