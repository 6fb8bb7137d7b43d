"""Secrets go into a running server over SSH, by standard input alone.

The server's own program (`images/server/credentials.py`) lays them into memory, and seals them with
a key of that server for its next boot. Words of a command would show in lists of processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from images.ssh import Door, as_root
from specs.errors import BakehouseError

LIMIT: Final = 180.0
"""Seconds for all secrets; an emulated machine that has just booted is slow."""

TOTAL: Final = 512 << 10
"""Bytes of all secrets together: systemd's credentials end at 1 MiB (systemd.exec(5))."""


def deliver(door: Door, secrets: Mapping[str, str]) -> None:
    """Make `secrets`, by name, the server's secrets: those that it had beside them disappear.

    Each is the file `/run/bakehouse/secrets/NAME` (root, 0600), there again after each reboot.
    Delivering the same again changes nothing. Raises CommandError, without any value in it, and
    BakehouseError when they are too large.
    """
    text = json.dumps(dict(secrets))
    if len(text.encode()) > TOTAL:
        raise BakehouseError(
            f"the secrets have more than {TOTAL >> 10} KiB together", "keep files among the data"
        )
    as_root(door, command(), timeout=LIMIT, stdin=text)


def command() -> list[str]:
    """The words run on the server; what they are to do comes in by standard input."""
    return ["/usr/bin/python3", "-IB", "-m", "bakehouse.credentials", "deliver"]
