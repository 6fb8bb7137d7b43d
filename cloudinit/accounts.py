"""System accounts with the lock's numbers, made before any package makes its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloudinit.template import render
from specs.packages import PEER_ACCOUNT, numbers
from specs.plan import ImagePlan


@dataclass(frozen=True, slots=True)
class Account:
    """A system account. Home, shell and comment are those that its Debian package would give."""

    name: str
    number: int
    home: str = ""
    shell: str = "/usr/sbin/nologin"
    comment: str = ""

    @property
    def group_only(self) -> bool:
        """Whether there is a group of this name, but nobody to log in as."""
        return not self.home


_HOMES: Final = {
    "postgres": ("/var/lib/postgresql", "/bin/bash", "PostgreSQL administrator"),
    "pgbouncer": ("/nonexistent", "/usr/sbin/nologin", "PgBouncer"),
    "caddy": ("/var/lib/caddy", "/usr/sbin/nologin", "Caddy web server"),
    PEER_ACCOUNT: ("/", "/bin/sh", "Other server of a pair"),
}


def _declared(plan: ImagePlan) -> set[str]:
    """The accounts that the spec's sections need."""
    names: set[str] = set()
    if plan.postgres:
        names.update({"postgres", "pgbouncer"})
    if plan.caddy:
        names.add("caddy")
    if plan.docker:
        names.add("docker")
    if plan.data.strategy == "replica":
        names.add(PEER_ACCOUNT)
    return names


def account_numbers(plan: ImagePlan) -> dict[str, int]:
    """Every account of the image and its number: the lock's, and for an unlocked plan the next."""
    return dict(plan.lock.uids) if plan.lock else numbers(plan)


def accounts(plan: ImagePlan) -> tuple[Account, ...]:
    """The image's system accounts, sorted by number."""
    known = account_numbers(plan)
    found = [Account(name, known[name], *_HOMES.get(name, ())) for name in _declared(plan)]
    return tuple(sorted(found, key=lambda account: account.number))


def accounts_script(plan: ImagePlan) -> str:
    """Shell lines that make the system accounts and the people's groups; safe to run twice.

    They fail when an account exists with another number: its data would change hands. `sh` with
    `set -e` runs them in the image's root, before any package is installed.
    """
    known = account_numbers(plan)
    people = [(user.name, known[user.name]) for user in plan.users]
    return render("bake/accounts.sh.j2", accounts=accounts(plan), people=people)


def system_accounts_script(plan: ImagePlan) -> str:
    """The same without people: what a layer of packages must have before it is installed."""
    return render("bake/accounts.sh.j2", accounts=accounts(plan), people=[])
