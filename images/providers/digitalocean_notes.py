"""Notes at DigitalOcean: SSH keys that open nothing.

What is made atomically, has a unique name, costs nothing and can be changed in one call? Tags can
be made twice; droplets' names are not unique; volumes cost; an account's first VPC in a region
becomes its default, which cannot be deleted. An SSH key is known by its fingerprint, which the API
takes as its address and refuses to store twice (422, "SSH Key is already in use on your account").

So a note is a public key that is computed from its name. Nobody has its private key: the point on
the curve is a hash. Its display name holds the labels, replaced by one PUT. As DigitalOcean does
not say how it keeps keys apart, whoever made one looks at the list afterwards: should there be two,
the one with the smaller number counts, and the other's maker takes it away.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from images.providers.base import Note
from images.providers.digitalocean_api import Api, MissingError, RefusedError
from images.providers.local_state import checked, word
from specs.errors import BakehouseError, UsageError

LONGEST: Final = 255
"""Characters of a display name; DigitalOcean states no limit, and this is a common one."""

NOTE: Final = "note"
ADDRESS: Final = "address"
"""Kinds: what callers keep, and which reserved IP has which name."""

PRIME: Final = 2**255 - 19
CURVE: Final = -121665 * pow(121666, -1, PRIME) % PRIME
"""Of Curve25519 in Edwards' form (RFC 8032, section 5.1)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A note at the vendor. `number` is the key's; `by` tells who made it."""

    number: int
    name: str
    labels: Mapping[str, str]
    by: str


def make(api: Api, kind: str, name: str, labels: Mapping[str, str]) -> bool:
    """Make a note; False when one of this name exists, or somebody else was quicker."""
    by = secrets.token_hex(8)
    body = {"name": _title(kind, name, labels, by), "public_key": public_key(kind, name)}
    try:
        api.make(api.client.ssh_keys.create, body=body, find=lambda: find(api, kind, name))
    except RefusedError as error:
        if error.status not in (409, 422) or find(api, kind, name) is None:
            raise
    same = sorted(
        (kept for kept in _all(api, kind) if kept.name == name), key=lambda kept: kept.number
    )
    if same and same[0].by == by:
        return True
    for kept in same[1:]:
        if kept.by == by:
            _delete(api, kept.number)
    return False


def find(api: Api, kind: str, name: str) -> Kept | None:
    """The note of this name."""
    try:
        found = api.ask(api.client.ssh_keys.get, fingerprint(public_key(kind, name)))
    except MissingError:
        return None
    return _kept(kind, found["ssh_key"])


def starting(api: Api, kind: str, prefix: str) -> Sequence[Note]:
    """All notes whose name starts so, by name."""
    found: dict[str, Kept] = {}
    for kept in sorted(_all(api, kind), key=lambda kept: -kept.number):
        found[kept.name] = kept
    return [
        Note(name, dict(found[name].labels)) for name in sorted(found) if name.startswith(prefix)
    ]


def change(api: Api, kind: str, name: str, labels: Mapping[str, str]) -> None:
    """Replace the labels of a note. Raises BakehouseError when it is gone."""
    body = {"name": _title(kind, name, labels, secrets.token_hex(8))}
    try:
        api.ask(api.client.ssh_keys.update, fingerprint(public_key(kind, name)), body=body)
    except MissingError as error:
        raise BakehouseError(f"there is no note {name}", "it was deleted meanwhile") from error


def delete(api: Api, kind: str, name: str) -> None:
    """The note is gone."""
    _delete(api, fingerprint(public_key(kind, name)))


def public_key(kind: str, name: str) -> str:
    """The public key that stands for a name, as a line of OpenSSH."""
    seed = hashlib.sha256(f"bakehouse {kind} {name}".encode()).digest()
    while not _on_curve(seed):
        seed = hashlib.sha256(seed).digest()
    parts = (b"ssh-ed25519", seed)
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def fingerprint(public: str) -> str:
    """The MD5 fingerprint of a public key's line, by which the API knows it."""
    blob = base64.b64decode(public.split()[1])
    return hashlib.md5(blob, usedforsecurity=False).digest().hex(":")


def _on_curve(point: bytes) -> bool:
    """Whether these bytes are a point's (RFC 8032, section 5.1.3): a server may check that."""
    y = int.from_bytes(point, "little") & ((1 << 255) - 1)
    if y >= PRIME:
        return False
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, PRIME) % PRIME
    return pow(square, (PRIME - 1) // 2, PRIME) == 1


def _title(kind: str, name: str, labels: Mapping[str, str], by: str) -> str:
    pairs = [f"{key}={value}" for key, value in sorted(checked(labels).items())]
    title = " ".join([f"bakehouse-{kind}", word(name, "a note's name"), *pairs, f"by={by}"])
    if len(title) > LONGEST:
        raise UsageError(
            f"the note {name} has {len(title)} characters, {LONGEST} are possible",
            "use a shorter name of the spec",
        )
    return title


def _kept(kind: str, key: Mapping[str, Any]) -> Kept | None:
    """None for a key of somebody else."""
    head, _, rest = str(key["name"]).partition(" ")
    name, *pairs = rest.split(" ")
    if head != f"bakehouse-{kind}" or not pairs or not pairs[-1].startswith("by="):
        return None
    if str(key["public_key"]).split()[:2] != public_key(kind, name).split():
        return None
    labels = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    by = labels.pop("by")
    return Kept(int(key["id"]), name, labels, by)


def _all(api: Api, kind: str) -> list[Kept]:
    keys = api.pages(api.client.ssh_keys.list, "ssh_keys")
    return [kept for key in keys if (kept := _kept(kind, key))]


def _delete(api: Api, key: int | str) -> None:
    try:
        api.ask(api.client.ssh_keys.delete, key)
    except MissingError:
        return
