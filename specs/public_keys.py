"""Public keys: of SSH, for logging in, and those that secrets are encrypted to."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from specs.kinds import Fault, Kind

SSH_KEY_TYPES: Final = {
    "ssh-ed25519": 0,
    "sk-ssh-ed25519@openssh.com": 0,
    "ecdsa-sha2-nistp256": 0,
    "ecdsa-sha2-nistp384": 0,
    "ecdsa-sha2-nistp521": 0,
    "sk-ecdsa-sha2-nistp256@openssh.com": 0,
    "ssh-rsa": 3072,
}
"""Key types that sshd accepts, and the fewest bits of the type where it matters.

3072 is `RequiredRSASize` of the ssh-audit policy for Debian 13.
"""


def _fields(blob: bytes) -> list[bytes] | None:
    """The length-prefixed fields of an SSH key (RFC 4253, section 6.6), or None when torn."""
    fields = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size:
            return None
        fields.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return fields


_PUB: Final = "paste the one line of your .pub file, for example ~/.ssh/id_ed25519.pub"


def _ssh_key(value: str) -> Fault | None:
    if "PRIVATE KEY" in value:
        return Fault(
            "is a private key, which must never leave your machine",
            "treat it as leaked: make a new pair, and paste the line of the .pub file",
            show=False,
        )
    words = value.split()
    if words[:1] == ["ssh-dss"]:
        return Fault("is a DSA key, which OpenSSH no longer accepts", "make an ed25519 key")
    more = re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", value.removesuffix("\n"))
    if more or len(words) < 2 or words[0] not in SSH_KEY_TYPES:
        return Fault("must be an SSH public key", _PUB)
    try:
        fields = _fields(base64.b64decode(words[1], validate=True)) or []
    except (binascii.Error, ValueError):
        fields = []
    torn = len(fields) < 2 or fields[0] != words[0].encode()
    if torn or (words[0] == "ssh-ed25519" and len(fields[1]) != 32):
        return Fault("is a damaged SSH public key", _PUB)
    bits = int.from_bytes(fields[-1], "big").bit_length()
    if bits < SSH_KEY_TYPES[words[0]]:
        return Fault(f"is an RSA key of {bits} bits; 3072 is the least", "make an ed25519 key")
    return None


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
        return _ssh_key(value)
    return Fault(
        "must be a public key of age or SSH", "for example age1…, or the line of a .pub file"
    )


RECIPIENT = Kind("a public key of age or SSH", check=_recipient)
SSH_KEY = Kind("an SSH public key", check=_ssh_key)
