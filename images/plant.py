"""Secrets put into a running machine, by the way that an operator has: SSH."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final

from images.ssh import Door, as_root
from specs import layout

LIMIT: Final = 120.0
"""Seconds for one secret; an emulated machine that has just booted is slow."""


def plant(door: Door, values: Mapping[str, str]) -> None:
    """Deliver secrets, by name, as files that root alone can read. Raises CommandError.

    They lie in memory: a machine that was rebooted needs them again.
    """
    for name, value in values.items():
        as_root(door, command(name), timeout=LIMIT, stdin=value)


def command(name: str) -> str:
    """The shell line that puts its standard input into the secret's file, whole or not at all.

    A service that waits for the file may read it as soon as it is there.
    """
    target = shlex.quote(f"{layout.SECRETS}/{name}")
    new = shlex.quote(f"{layout.SECRETS}/.{name}.new")
    return f"umask 077 && mkdir -p {layout.SECRETS} && cat >{new} && mv {new} {target}"
