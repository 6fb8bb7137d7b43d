"""A cloud's token: from the environment, else from the spec's secrets. It is in no log."""

from __future__ import annotations

import os
from collections.abc import Callable

from specs.errors import UsageError

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
