"""Where a spec's servers may be made, and of which type: both in the order of preference."""

from __future__ import annotations

from typing import NamedTuple

from specs.errors import UsageError
from specs.model import Deploy


class Offer(NamedTuple):
    """To be tried in this order."""

    locations: tuple[str, ...]
    types: tuple[str, ...]


def offer(deploy: Deploy) -> Offer:
    """What the spec names. Raises UsageError when it names none: nobody else knows what to pay."""
    if not deploy.locations:
        raise UsageError(
            "deploy.locations is empty",
            f"for example: locations: [{_EXAMPLES[deploy.provider][0]}]",
        )
    if not deploy.server_types:
        raise UsageError(
            "deploy.server_types is empty",
            f"for example: server_types: [{_EXAMPLES[deploy.provider][1]}]; see the vendor's list",
        )
    return Offer(deploy.locations, deploy.server_types)


_EXAMPLES = {
    "local": ("fsn1", "cx23"),
    "hetzner": ("fsn1, nbg1", "cx23"),
    "digitalocean": ("fra1, ams3", "s-2vcpu-4gb"),
}
