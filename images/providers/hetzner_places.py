"""Where a spec's things are at Hetzner. A volume never leaves its location, and only servers there
can have it: so whichever is made first says where the other one goes."""

from __future__ import annotations

from typing import Final, NamedTuple

from images.providers.base import SPEC
from images.providers.hetzner_api import Api
from specs.errors import BakehouseError


class Bond(NamedTuple):
    """The location that servers must be in, and the volume that says so; both "" for no such."""

    place: str
    volume: str


FREE: Final = Bond("", "")


def bond(api: Api, spec: str) -> Bond:
    """What binds the servers of a spec to a location.

    Raises BakehouseError when it has volumes in several ones: no server could have them all.
    """
    look = f"see where the volumes of {spec} are"
    found = api.ask(look, lambda: api.client.volumes.get_all(label_selector=f"{SPEC}=={spec}"))
    bonds = sorted((Bond(one.location.name, one.name) for one in found), key=lambda one: one.volume)
    if len({one.place for one in bonds}) > 1:
        named = ", ".join(
            f"{one.volume} {'' if n else 'is '}in {one.place}" for n, one in enumerate(bonds)
        )
        raise BakehouseError(
            f"the volumes of {spec} are in several locations, and a server has only those of its "
            f"own: {named}",
            f"take the label {SPEC}={spec} from the one that is no longer used, or delete it",
        )
    return bonds[0] if bonds else FREE


def of_servers(api: Api, spec: str) -> str:
    """The location of a spec's servers, by name the first one's; "" when it has none."""
    look = f"see where the servers of {spec} are"
    found = api.ask(look, lambda: api.client.servers.get_all(label_selector=f"{SPEC}=={spec}"))
    there = sorted((one.name, str(one.location.name)) for one in found if one.status != "deleting")
    return there[0][1] if there else ""
