"""Public keys that secrets are encrypted to."""

from __future__ import annotations

import re
from typing import Final

from specs.kinds import SSH_KEY_TYPES, Fault, Kind, ssh_key_fault

_AGE_KEY: Final = r"age1[02-9ac-hj-np-z]{58}"
"""An age public key: Bech32 of 32 bytes, in small letters (age's specification, "X25519")."""


def _recipient(value: str) -> Fault | None:
    if value.startswith("AGE-SECRET-KEY-"):
        return Fault(
            "is a secret key, which must never leave your machine",
            "treat it as leaked: make a new one, and write its public key, age1…",
            show=False,
        )
    if re.fullmatch(_AGE_KEY, value):
        return None
    kind = value.partition(" ")[0]
    if kind in SSH_KEY_TYPES and kind not in ("ssh-ed25519", "ssh-rsa"):
        return Fault(f"is a key of type {kind}, to which age cannot encrypt", "use an ed25519 key")
    if kind in SSH_KEY_TYPES or "PRIVATE KEY" in value:
        return ssh_key_fault(value)
    return Fault(
        "must be a public key of age or SSH", "for example age1…, or the line of a .pub file"
    )


RECIPIENT = Kind("a public key of age or SSH", check=_recipient)
