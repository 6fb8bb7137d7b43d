"""Where things live on a server and in an image: the paths, addresses and ports all parts share."""

from __future__ import annotations

from typing import Final

ETC: Final = "/etc/bakehouse"
"""Configuration that the image brings: `server.json`, `apps/<app>/compose.yaml`."""

LIB: Final = "/usr/lib/bakehouse"
"""Our programs (`images/server/`), and below `images/` the apps' OCI archives."""

SERVER_JSON: Final = f"{ETC}/server.json"
"""What our programs know of the spec; part of the image."""

BOOT_JSON: Final = f"{ETC}/boot.json"
"""What one server learnt from `boot.yaml`: role, generation, whether it may make a cluster."""

FLOATING: Final = "/etc/systemd/network/20-bakehouse-floating.network"
"""The floating IPs that one server learnt from `boot.yaml`."""

RUN: Final = "/run/bakehouse"
SECRETS: Final = f"{RUN}/secrets"
"""One file for each secret, delivered after boot; tmpfs, mode 0700."""

SEALED_SECRETS: Final = "/var/lib/bakehouse/secrets.cred"
"""The same at rest: one systemd credential, encrypted with the key of the server that it is on."""

FIRST_HOST_KEY: Final = f"{RUN}/first_host_key"
"""The throwaway SSH host key from `boot.yaml`, by which the first contact is verified."""

DATA: Final = "/data"
"""All that outlives a server: `postgres/<major>/main`, `apps/<app>/<volume>`, `caddy`, `state`."""

STATE: Final = f"{DATA}/state"
"""Generated passwords and what is made from them; synchronised with the data."""

BAKE: Final = "/run/bakehouse-bake"
"""Only while an image bakes: `repo/` (a flat apt repository), `payload/<sha256>/`."""

POOLER_ADDRESS: Final = "10.88.88.1"
"""PgBouncer's address for containers, on `POOLER_LINK`, a bridge without ports of its own."""

POOLER_LINK: Final = "bakehouse0"
POOLER_PORT: Final = 6432
POOLER_TARGETS: Final = f"{RUN}/pooler/databases.ini"
"""Where the pooler finds each database: in Postgres here, or after a swap at the peer."""

TUNNEL_PORT: Final = 4789
"""UDP, between the two servers of a pair while the floating IP moves (VXLAN, RFC 7348)."""

APP_PORT_BASE: Final = 20_000
"""Replica `r` (from 0) of the app with index `i` listens on 127.0.0.1 at base + 20 i + r."""

MAX_REPLICAS: Final = 20

PEER_PORTS: Final = 10_000
"""So far above a replica's port is the one that leads to the peer's same replica."""

HOLD_PORT: Final = 19_999
"""On loopback: where requests to apps with files wait while a swap carries the files."""


def app_ports(index: int, replicas: int) -> list[int]:
    """The loopback ports of an app's replicas; `index` counts from 0 in the order of the spec."""
    return [APP_PORT_BASE + MAX_REPLICAS * index + replica for replica in range(replicas)]
