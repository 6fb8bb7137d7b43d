"""Two servers are waited for, and learn to know each other by keys that the operator carries.

Private keys never leave their servers; what is carried is checked by the operator's own SSH.
"""

from __future__ import annotations

import time
from typing import Any, Final

from images.promote.reach import Contact, UnreachableError
from specs.errors import BakehouseError

PATIENCE: Final = 180.0
"""Seconds that a new server may take until it lets the operator in."""

READY: Final = (
    "test -e /var/lib/bakehouse/role.json && systemctl start bakehouse-secrets.service"
    " || cloud-init status --wait >/dev/null; echo $?"
)
"""Whoever took part in a swap has its first boot behind it, and nothing is waited for but what we
write ourselves: cloud-init ends after the apps, and those of a fenced server wait in vain for its
database. (cloud-init's own `boot-finished` goes at the begin of each boot.)"""

SETTLE: Final = 180.0
"""Seconds that a server may take until all of it runs, its apps included."""


def introduce(one: Contact, other: Contact, port: int) -> None:
    """Make each the other's only peer, by its private address and SSH `port`; repeatable.

    Raises RefusedError or UnreachableError; the two may then know each other one-sidedly, which
    opens nothing but the forced command.
    """
    cards = [(side, side.program("peer", "key")) for side in (one, other)]
    (_, first), (_, second) = cards
    one.program("peer", "meet", given=card(other, second, port))
    other.program("peer", "meet", given=card(one, first, port))


def card(contact: Contact, keys: dict[str, Any], port: int) -> dict[str, Any]:
    """What a server is told of its peer."""
    return {
        "name": contact.name,
        "address": contact.server.private,
        "port": port,
        "public": keys["public"],
        "host_key": keys["host_key"],
        "ports": keys.get("ports", {}),
    }


def part(contact: Contact) -> None:
    """The server forgets its peer."""
    contact.program("peer", "part")


def wait_for(contact: Contact, patience: float = PATIENCE) -> None:
    """Wait until the server lets us in and its first boot is over.

    Raises BakehouseError when it does not within `patience` seconds, or its first boot failed.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            left = max(1.0, deadline - time.monotonic())
            done = contact.shell(READY, timeout=left)
        except UnreachableError as error:
            if time.monotonic() > deadline:
                raise BakehouseError(
                    f"{contact.name} does not let us in after {patience:g} s: {error.message}",
                    "see its console at the provider",
                ) from error
            time.sleep(0.3)
            continue
        if done.stdout.strip() not in ("0", "2"):  # 2: done, with a warning (cloud-init status(1))
            raise BakehouseError(
                f"{contact.name}: the first boot failed: {done.stdout}{done.stderr}",
                f"see `cloud-init status --long` on {contact.name}",
            )
        return


def settle(contact: Contact) -> None:
    """Wait until no unit is starting any more, and name those that failed.

    Raises BakehouseError for failed units of ours.
    """
    line = f"timeout {SETTLE:.0f} systemctl is-system-running --wait; systemctl --failed --plain"
    shown = contact.shell(f"{line} --no-legend", timeout=SETTLE + 30).stdout.splitlines()
    failed = [words[0] for row in shown[1:] if (words := row.split())]
    ours = [unit for unit in failed if "backup" not in unit]
    if ours:
        raise BakehouseError(
            f"{contact.name}: {', '.join(ours)} failed",
            f"see `journalctl -u {ours[0]}` there; the image passed its proof, so look for what "
            "this server lacks: secrets, network",
        )
