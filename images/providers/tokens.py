"""A cloud's token: from the environment, else from the spec's secrets. It is in no log."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from specs.errors import UsageError

HERE: Final = "http://127.0.0.1:"
"""The only place to which a token goes in clear: an emulator on this machine."""

Secrets = Callable[[str], str]
"""The value of a secret by its name. Raises UsageError when there is none."""


def token(variable: str, name: str, secrets: Secrets | None) -> str:
    """The token in the environment's `variable`, else the secret `name`.

    Raises UsageError when there is neither.
    """
    if given := os.environ.get(variable, "").strip():
        return given
    hint = f"set {variable}, or write the secret {name}: invoke secrets edit"
    if secrets is None:
        raise UsageError(f"there is no token: {variable} is not set", hint)
    try:
        return secrets(name).strip()
    except UsageError as error:
        raise UsageError(f"there is no token: {variable} is not set", hint) from error


def endpoint(variable: str, usual: str) -> str:
    """The API's address in the environment's `variable`, else the usual one.

    Raises UsageError for one to which the token would go in clear.
    """
    given = os.environ.get(variable, "").strip()
    here = given.startswith(HERE) and urlsplit(given).hostname == "127.0.0.1"
    if given and not (here or given.startswith("https://")):
        raise UsageError(
            f"{variable}={given}: the token would go there in clear",
            f"use an https:// address; {HERE}… is for an emulator on this machine",
        )
    return given or usual
