"""Which secrets a spec's servers need, and who there reads each of them."""

from __future__ import annotations

from typing import Final

from specs.model import Spec
from specs.plan import ImagePlan

PASSPHRASE: Final = "borg_passphrase"  # noqa: S105  its name
"""Encrypts the backups."""

BORG_KEY: Final = "borg_ssh_key"
"""Opens the backup server, where the repository is on one."""

HETZNER_TOKEN: Final = "hcloud-token"  # noqa: S105  its name
DIGITALOCEAN_TOKEN: Final = "digitalocean-token"  # noqa: S105  its name
TOKENS: Final = (HETZNER_TOKEN, DIGITALOCEAN_TOKEN)
"""Secrets that open the provider's account: no server gets them."""

OF_THE_SERVER: Final = (PASSPHRASE, BORG_KEY)
"""Secrets that no app may read: they open the backups of the whole server."""


def needed(spec: Spec | ImagePlan) -> dict[str, tuple[str, ...]]:
    """Every secret that must be delivered, by name, with the apps (or `borg`) that read it."""
    readers: dict[str, list[str]] = {}
    for app in spec.apps:
        for name in sorted({*app.secrets, *app.secret_environment.values()}):
            readers.setdefault(name, []).append(app.name)
    if spec.borg:
        readers[PASSPHRASE] = ["borg"]
    return {name: tuple(readers[name]) for name in sorted(readers)}


def of_operator(spec: Spec) -> dict[str, tuple[str, ...]]:
    """Those that are read where a run is started, and never reach a server."""
    return dict.fromkeys(sorted(spec.notify.urls), ("notify",))


def welcome(spec: Spec | ImagePlan) -> dict[str, tuple[str, ...]]:
    """Those that are delivered when there is a value for them, and not missed otherwise."""
    return {BORG_KEY: ("borg",)} if spec.borg else {}
