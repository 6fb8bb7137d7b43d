"""The way into a server of a cloud: by its public address, and by what vouches for its host key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from images import ssh
from images.home import Home, write_whole
from images.providers.base import Server
from images.providers.keys import operator_key
from images.ssh import Door
from specs.errors import BakehouseError

KNOWN: Final = "known_hosts"
BY_CA: Final = "@cert-authority"


def cloud_door(home: Home, server: Server, folder: Path, admin: str, port: int) -> Door:
    """The operator's way in. `known_hosts` in `folder` vouches for the server: its throwaway key,
    its own key, or the spec's host CA (`images.hosts.keys` writes all three).

    Raises BakehouseError when nothing does: a cloud's word for a host key is not to be had. Raises
    as `operator_key`, which does not make one for a server that stands.
    """
    known = folder / KNOWN
    if not known.exists():
        raise BakehouseError(
            f"nothing here vouches for the host key of {server.name}",
            "run this on the machine that made it, or bring the spec's secrets file, which has "
            "the host CA",
        )
    certified = known.read_text(encoding="utf-8").startswith(BY_CA)
    text = ssh.config_text(
        folder,
        server.address,
        port,
        admin,
        operator_key(home, make=False),
        known_as=server.name if certified else ssh.ALIAS,
    )
    config = folder / "ssh_config"
    write_whole(config, text)
    return Door(config)
