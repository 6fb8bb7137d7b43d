"""The closed list of providers."""

from __future__ import annotations

from images.home import Home
from images.providers.base import Provider
from images.providers.local import Local
from specs.errors import UsageError


def provider(name: str, home: Home) -> Provider:
    """The provider that a spec calls `name`; `home` keeps what is to be kept on this machine.

    Raises UsageError when there is none of this name.
    """
    match name:
        case "local":
            return Local(home)
        case _:
            raise UsageError(f"{name}: no provider of this name", "there is: local")
