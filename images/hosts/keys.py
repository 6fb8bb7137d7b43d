"""A server's SSH host key: verified at the first contact, then one of its own, signed by the CA."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from images import ssh
from images.home import write_whole
from images.hosts.ca import VALIDITY, HostCa, known_hosts_line, make_pair, sign_host_key
from images.ssh import Door, as_root
from specs.errors import BakehouseError

LIMIT: Final = 60.0
"""Seconds for one of the calls on the server."""

KNOWN: Final = "known_hosts"
FIRST: Final = "first_key.json"
"""Files of a door, beside its configuration."""

PROGRAM: Final = ("/usr/bin/python3", "-IB", "-m", "bakehouse.host_keys")


@dataclass(frozen=True, slots=True)
class FirstKey:
    """A throwaway host key pair for one new server: `private` goes into `ServerPlan.first_key`."""

    private: str
    public: str


def make_first_key() -> FirstKey:
    """A new pair. Call before the server is made; give `public` to `trust`."""
    return FirstKey(*make_pair(""))


def first_key(folder: Path) -> FirstKey:
    """The throwaway of the server whose door's files are in `folder`, trusted from now on.

    Made at the first call, and the same at each one until `certify` has ended it: an order that was
    lost, or cut short, is repeated with the same user data.
    """
    kept = folder / FIRST
    if not kept.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pair = make_first_key()
        write_whole(folder / KNOWN, ssh.known_host(pair.public))
        write_whole(kept, json.dumps(asdict(pair)))
    return FirstKey(**json.loads(kept.read_text(encoding="utf-8")))


def trust(door: Door, *public: str, name: str = "") -> None:
    """Trust these host keys, and no others, behind this door, also where it knows its server by
    this `name`."""
    lines = [ssh.known_host(one, name) for one in public]
    write_whole(door.config.parent / KNOWN, "".join(lines))


def trust_ca(door: Door, ca: HostCa, name: str) -> None:
    """Trust what the CA certified for the server `name`, behind a door that knows it by that name.

    For a server that somebody else made, or after this machine lost what it knew of it.
    """
    write_whole(door.config.parent / KNOWN, f"{known_hosts_line(ca, [name])}\n")


def certify(
    door: Door, ca: HostCa, name: str, names: Sequence[str], validity: int = VALIDITY
) -> str:
    """Give the server a fresh certificate, and its own host key in the place of a throwaway.

    The server makes its key itself; the private half never leaves it. From then on the door trusts
    that key and no longer the throwaway. Returns the public key. May be repeated after a kill
    anywhere. `name` is the server's, `names` are `ca.principals`, `validity` seconds. Raises
    CommandError when the server cannot be reached, BakehouseError when it answers nonsense.
    """
    public = asked(door, name)["public"]
    known = door.config.parent / KNOWN
    before = known.read_text(encoding="utf-8") if known.exists() else ""
    line = ssh.known_host(public, name)  # a door by the CA knows it by its name
    if line not in before:  # both, until it is certain which one the server uses
        write_whole(known, before + line)
    serial = time.time_ns() // 1_000_000
    certificate = sign_host_key(ca, public, name, names, serial=serial, validity=validity)
    as_root(door, [*PROGRAM, "install"], timeout=LIMIT, stdin=f"{certificate}\n")
    trust(door, public, name=name)
    (door.config.parent / FIRST).unlink(missing_ok=True)
    return public


def asked(door: Door, name: str) -> dict[str, str]:
    """What the server says of itself: `public`, the key to be signed, and `certificate`, or "".

    Raises CommandError when it cannot be reached, BakehouseError when it answers nonsense.
    """
    answer = as_root(door, [*PROGRAM, "own"], timeout=LIMIT).stdout
    try:
        found = json.loads(answer)
        ssh.known_host(found["public"])
        return {key: str(found[key]) for key in ("public", "certificate")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BakehouseError(f"{name} does not tell its host key", "see its journal") from error
