"""The temporary server of a build: its first-boot data, its keys, and the gate that asks it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudinit.document import Value, dump
from cloudinit.facts import server_json
from images import ssh
from images.expectations import expectations
from images.hosts.keys import FirstKey, make_first_key
from images.packer import gate
from images.recipe import Recipe
from images.run import show

GATE: Final = "gate"
SEED: Final = "seed"


@dataclass(frozen=True, slots=True)
class Temporary:
    """What one temporary server is given: our key, its first-boot data, the gate's command."""

    key: ssh.Key
    user_data: str
    verify: str


def temporary(recipe: Recipe, at: Path, *, with_host_key: bool) -> Temporary:
    """Lay out the folder `at`, which exists. A `with_host_key` server is verified by the gate from
    its first contact; without, it is on this very machine."""
    folder = at / GATE
    folder.mkdir(mode=0o700)
    key = ssh.make_key(folder)
    host_key = make_first_key() if with_host_key else None
    expected = expectations(recipe.plan, {}, vendor_base=True)
    words = gate.prepare(
        folder, expected, server_json(recipe.plan.image), host_key.public if host_key else ""
    )
    return Temporary(key, first_boot(key.public, host_key), show(words))


def first_boot(public_key: str, host_key: FirstKey | None) -> str:
    """First-boot data for a vendor's image, or for one of ours that stands in for it: root may log
    in with this key. With a `host_key` that one is the server's."""
    data: dict[str, Value] = {
        "disable_root": False,
        "ssh_authorized_keys": [public_key],
        "write_files": [
            {
                "path": "/etc/ssh/authorized_keys.d/root.boot",
                "permissions": "0644",
                "content": f"{public_key}\n",
            }
        ],
    }
    if host_key:
        private = host_key.private.rstrip("\n") + "\n"
        data["ssh_deletekeys"] = True
        data["ssh_keys"] = {"ed25519_private": private, "ed25519_public": host_key.public}
    else:
        data["users"] = []  # nobody by default: the spec's first user has that number
    return dump(data)


def write_seed(at: Path, user_data: str) -> Path:
    """A NoCloud seed in a new folder below `at`."""
    seed = at / SEED
    seed.mkdir()
    (seed / "user-data").write_text(user_data, encoding="utf-8")
    (seed / "meta-data").write_text("instance-id: bakehouse-base\n", encoding="utf-8")
    return seed
