"""Secrets go into a running server over SSH, by standard input alone.

The server's own program (`images/server/credentials.py`) lays them into memory, and seals them with
a key of that server for its next boot. Words of a command would show in lists of processes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final

from images.ssh import Door, as_root
from specs.errors import BakehouseError

LIMIT: Final = 180.0
"""Seconds for all secrets; an emulated machine that has just booted is slow."""

RESTART: Final = 900.0
"""Seconds for apps to end and to be healthy again."""

TOTAL: Final = 512 << 10
"""Bytes of all secrets together: systemd's credentials end at 1 MiB (systemd.exec(5))."""


def deliver(door: Door, secrets: Mapping[str, str]) -> tuple[str, ...]:
    """Make `secrets`, by name, the server's secrets: those that it had beside them disappear.

    Each is the file `/run/bakehouse/secrets/NAME` (root, 0600), there again after each reboot.
    Returns the names of those that are new, changed or gone. Raises CommandError, without any value
    in it, and BakehouseError when they are too large.
    """
    text = json.dumps(dict(secrets))
    if len(text.encode()) > TOTAL:
        raise BakehouseError(
            f"the secrets have more than {TOTAL >> 10} KiB together", "keep files among the data"
        )
    answer = json.loads(as_root(door, command(), timeout=LIMIT, stdin=text).stdout)
    return tuple(sorted([*answer["changed"], *answer["removed"]]))


def restart_readers(
    door: Door, changed: Collection[str], readers: Mapping[str, Collection[str]]
) -> tuple[str, ...]:
    """Start the running apps anew that read one of the `changed` secrets; returns their names.

    `readers` is `specs.needs.needed`. An app that does not run is left alone: it waits for its
    secrets by itself, or must not run on this server.
    """
    apps = sorted({app for name in changed for app in readers.get(name, ())} - {"borg"})
    if apps:
        units = [f"bakehouse-app@{app}.service" for app in apps]
        as_root(door, ["systemctl", "try-restart", *units], timeout=RESTART)
    return tuple(apps)


def command() -> list[str]:
    """The words run on the server; what they are to do comes in by standard input."""
    return ["/usr/bin/python3", "-IB", "-m", "bakehouse.credentials", "deliver"]
