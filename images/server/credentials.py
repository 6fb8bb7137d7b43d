#!/usr/bin/python3
"""Lays this server's secrets into memory, and seals them for its next boot.

credentials.py deliver   secrets from standard input (JSON, text by name) replace those here
credentials.py restore   at boot: the sealed ones into memory again

At rest they are one systemd credential, encrypted with a key of this host that only root can read:
they lie in clear on no disk, and no copy of the data, no backup and no other server can tell them.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from . import state

SECRETS: Final = state.RUN / "secrets"
NAME: Final = "bakehouse-secrets"
SEALED: Final = Path("/var/lib/bakehouse/secrets.cred")
FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def deliver(text: str) -> dict[str, list[str]]:
    """Make `text` the whole of this server's secrets; tells the names that changed or went.

    Sealed first: what an app has read is there after a reboot. Raises ProgramError, which never
    repeats a value, for what is no JSON object of texts, and when sealing fails.
    """
    values = checked(text)
    state.folder(SEALED.parent, 0o700)
    state.write(SEALED, seal(json.dumps(values, sort_keys=True)))
    return place(values)


def restore(folder: Path) -> dict[str, list[str]]:
    """What systemd opened for this unit, into memory."""
    return place(checked((folder / NAME).read_text(encoding="utf-8")))


def checked(text: str) -> dict[str, str]:
    """The secrets of a JSON text, by name; a name becomes a file's and must be a plain one."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        raise state.ProgramError("the secrets are not JSON") from None
    if not isinstance(found, dict):
        raise state.ProgramError("the secrets are no JSON object")
    for name, value in found.items():
        if not FILE_NAME.fullmatch(name) or not isinstance(value, str):
            raise state.ProgramError("the secrets hold a bad name, or a value that is no text")
    return dict(found)


def place(values: dict[str, str]) -> dict[str, list[str]]:
    """A file for each secret, whole or not at all, and none for any other."""
    state.folder(state.RUN, 0o755)
    state.folder(SECRETS, 0o700)
    changed = []
    for name, value in sorted(values.items()):
        path = SECRETS / name
        if not path.is_file() or path.read_bytes() != value.encode():
            changed.append(name)
        state.write(path, value)
    gone = sorted(path.name for path in SECRETS.iterdir() if path.name not in values)
    for name in gone:
        (SECRETS / name).unlink()
    return {"changed": changed, "removed": gone}


def seal(text: str) -> str:
    """`text` as an encrypted credential, in Base64 (systemd-creds(1)).

    With the host's key alone: a virtual server's TPM, where there is one, may stay behind when its
    provider moves it.
    """
    command = ["systemd-creds", "encrypt", "--with-key=host", f"--name={NAME}", "-", "-"]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise state.ProgramError(f"cannot seal the secrets: {error}") from error
    if done.returncode != 0:
        raise state.ProgramError(f"cannot seal the secrets: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    """Do what the command line says, and print what changed, by name."""
    verb = sys.argv[1] if len(sys.argv) == 2 else ""
    if verb == "deliver":
        found = deliver(sys.stdin.read())
    elif verb == "restore":
        found = restore(Path(os.environ["CREDENTIALS_DIRECTORY"]))
    else:
        raise state.ProgramError("usage: credentials deliver | restore")
    print(json.dumps(found))


if __name__ == "__main__":
    state.run_program(main)
