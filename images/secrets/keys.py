"""Whose keys open a secrets file, and which of ours do: age's own keys, and SSH keys."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import platformdirs
import pyrage

from images.run import interact
from images.secrets.memory import memory_folder
from specs.errors import UsageError
from specs.model import Spec

VARIABLE: Final = "BAKEHOUSE_AGE_IDENTITY"
SSH: Final = ("id_ed25519", "id_rsa")
ENCRYPTABLE: Final = ("ssh-ed25519 ", "ssh-rsa ")


def recipients(spec: Spec) -> tuple[str, ...]:
    """Public keys to encrypt to: those of the spec, else those of its users with sudo.

    Raises UsageError when there is none.
    """
    if spec.secrets.recipients:
        return spec.secrets.recipients
    admins = [key for user in spec.users if user.sudo for key in user.authorized_keys]
    found = tuple(key for key in admins if key.startswith(ENCRYPTABLE))
    if not found:
        raise UsageError(
            "there is nobody to encrypt secrets to",
            "name public keys in the spec, of age or SSH:  secrets: {recipients: [age1…]}",
        )
    return found


def parsed(keys: Sequence[str]) -> list[Any]:
    """Recipients as pyrage wants them. Raises UsageError for one that it refuses."""
    found = []
    for key in keys:
        kind = pyrage.x25519 if key.startswith("age1") else pyrage.ssh
        try:
            found.append(kind.Recipient.from_str(key))
        except pyrage.RecipientError as error:
            raise UsageError(f"{key}: {error}", "write an age or an SSH public key") from error
    return found


def identity_files() -> list[Path]:
    """Files with our private keys, in the order in which they are tried.

    `BAKEHOUSE_AGE_IDENTITY` alone when it is set; else `identity` in our configuration folder, then
    the SSH keys of the user.
    """
    given = os.environ.get(VARIABLE)
    if given:
        if not Path(given).is_file():
            raise UsageError(f"{VARIABLE}: there is no file {given}", "name a file with a key")
        return [Path(given)]
    ours = platformdirs.user_config_path("bakehouse") / "identity"
    ssh = [Path.home() / ".ssh" / name for name in SSH]
    return [path for path in (ours, *ssh) if path.is_file()]


def identities(path: Path) -> list[Any]:
    """The keys in one file: age's own, a line each, or one SSH private key.

    An SSH key with a passphrase is opened by `ssh-keygen`, which asks the person for it. Raises
    UsageError for a file that holds no key.
    """
    data = path.read_bytes()
    if b"PRIVATE KEY-----" not in data:
        return list(_age_identities(path, data))
    try:
        return [pyrage.ssh.Identity.from_buffer(data)]
    except pyrage.IdentityError as error:
        if "decrypted first" in str(error) and sys.stdin.isatty():
            return [pyrage.ssh.Identity.from_buffer(_without_passphrase(path))]
        if "decrypted first" in str(error):
            hint = f"run this on a terminal, or set {VARIABLE} to a key without one"
            raise UsageError(f"{path} has a passphrase", hint) from error
        raise UsageError(f"{path}: {error}", "age can use ed25519 and RSA keys") from error


def _age_identities(path: Path, data: bytes) -> Iterator[Any]:
    found = re.findall(r"^AGE-SECRET-KEY-1[0-9A-Z]+$", data.decode("utf-8", "replace"), re.M)
    if not found:
        raise UsageError(f"{path} holds no private key", "see docs/secrets.md for how to make one")
    for line in found:
        try:
            yield pyrage.x25519.Identity.from_str(line)
        except pyrage.IdentityError as error:
            raise UsageError(f"{path} holds a damaged age key", "copy it again, whole") from error


def _without_passphrase(path: Path) -> bytes:
    """An SSH key as it is without its passphrase, which only memory ever sees so."""
    with memory_folder() as folder:
        copy = folder / path.name
        shutil.copyfile(path, copy)
        copy.chmod(0o600)
        if interact(["ssh-keygen", "-q", "-p", "-N", "", "-f", str(copy)]) != 0:
            raise UsageError(f"{path} was not opened", "give its passphrase")
        return copy.read_bytes()
