"""The closed list of providers."""

from __future__ import annotations

from images.home import Home
from images.providers.base import Provider
from images.providers.local import Local
from images.providers.tokens import Secrets, endpoint, token
from specs.errors import UsageError
from specs.model import Spec
from specs.needs import DIGITALOCEAN_TOKEN, HETZNER_TOKEN


def provider(
    name: str, home: Home, spec: Spec | None = None, secrets: Secrets | None = None
) -> Provider:
    """The provider that a spec calls `name`; `home` keeps what is to be kept on this machine.

    `spec` says where servers are made and what their firewall opens, `secrets` gives a token that
    is not in the environment. Raises UsageError when there is none of this name, or no token.
    """
    match name:
        case "local":
            return Local(home)
        case "hetzner":
            from images.providers.hetzner import TOKEN, Hetzner  # noqa: PLC0415  as below
            from images.providers.hetzner_api import ENDPOINT  # noqa: PLC0415
            from images.providers.hetzner_api import Api as HetznerApi  # noqa: PLC0415

            found = token(TOKEN, HETZNER_TOKEN, secrets)
            at = endpoint("HCLOUD_ENDPOINT", ENDPOINT)
            return Hetzner(home, HetznerApi(found, at), spec)
        case "digitalocean":
            # its client takes a third of a second to import, which other verbs need not wait for
            from images.providers.digitalocean import TOKEN, DigitalOcean  # noqa: PLC0415
            from images.providers.digitalocean_api import ENDPOINT as API_URL  # noqa: PLC0415
            from images.providers.digitalocean_api import Api  # noqa: PLC0415

            found = token(TOKEN, DIGITALOCEAN_TOKEN, secrets)
            api = Api(found, endpoint("DIGITALOCEAN_API_URL", API_URL))
            return DigitalOcean(home, api, spec)
        case _:
            raise UsageError(
                f"{name}: no provider of this name", "there is: local, hetzner, digitalocean"
            )
