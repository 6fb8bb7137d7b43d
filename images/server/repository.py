"""The repository of the backups: how Borg is called for it, with which secrets, and its making.

One that has archives is remembered beside the data, with which that moves: when it is not there any
more its disk is not mounted or somebody deleted it, and an empty one in its place would hide that.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from . import state
from .child import ended
from .state import ProgramError

LIB: Final = Path("/var/lib/bakehouse")
SECRETS: Final = state.RUN / "secrets"
KNOWN_HOSTS: Final = state.STATE / "borg" / "known_hosts"

REPOSITORIES: Final = state.STATE / "borg" / "repositories.json"
"""Where this data has archives, and when the last one was made: seconds since 1970 by location."""

MISSING: Final = frozenset({13, 15})
"""Borg's codes for no repository at all, and for a folder that is none (`borg init` refuses one
that is not empty): Repository.DoesNotExist and Repository.InvalidRepository in its "Return codes".
"""


def ensure_repository(environment: Mapping[str, str]) -> None:
    """Make the repository when there is none.

    Raises ProgramError when it cannot be opened, or is not there any more.
    """
    location = environment["BORG_REPO"]
    code, said = ended(["borg", "info"], environment, quiet=True)
    if code in MISSING:
        refuse_lost(location)
        print(f"making the repository {location}", flush=True)
        run_borg(["init", "--encryption=repokey-blake2", "--make-parent-dirs"], environment)
    elif code != 0:
        raise ProgramError(f"cannot open {location}: {said.strip()}")


def refuse_lost(location: str) -> None:
    """Raise ProgramError when a repository that is not there had archives."""
    last = remembered().get(location)
    if last is None:
        return
    until = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M UTC")
    raise ProgramError(
        f"the repository {location} that had backups until {until} is gone: mount its disk or bring"
        f" it back; to begin a new one on purpose, remove {REPOSITORIES}"
    )


def remembered() -> dict[str, int]:
    """What `REPOSITORIES` holds. Raises ProgramError when it is damaged."""
    return dict(state.read_json(REPOSITORIES)) if REPOSITORIES.exists() else {}


def remember(location: str) -> None:
    """Note that it has an archive, made now. That this fails is told, and fails no backup."""
    try:
        state.write(REPOSITORIES, json.dumps({**remembered(), location: int(time.time())}) + "\n")
    except (ProgramError, OSError) as error:
        print(f"<4>that {location} has backups could not be recorded: {error}", file=sys.stderr)


def run_borg(
    words: Sequence[str], environment: Mapping[str, str], fine: Collection[int] = ()
) -> None:
    """Run Borg, its output to the journal. Raises ProgramError unless it ends with 0 or `fine`.

    `borg check` ends with the warning 1 when it found damage: no warning is fine by default.
    """
    code, _ = ended(["borg", *words], environment)
    if code != 0 and code not in fine:
        raise ProgramError(
            f"borg {words[0]} ended with code {code}; "
            "`journalctl -u 'bakehouse-backup*'` tells what it said"
        )


def borg_environment(repository: str, name: str) -> dict[str, str]:
    """What Borg needs to know. The passphrase stays in its file, which Borg reads itself."""
    passphrase = secret_file("borg_passphrase")
    if passphrase is None:
        raise ProgramError(
            f"no passphrase for the backups: put it into {SECRETS / 'borg_passphrase'} (mode 0600)"
        )
    machine = Path("/etc/machine-id").read_text().strip()
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "BORG_REPO": repository,
        "BORG_PASSCOMMAND": f"cat {passphrase}",
        "BORG_BASE_DIR": str(LIB / "borg"),
        "BORG_SECURITY_DIR": str(security(repository)),
        "BORG_HOST_ID": f"{name}@{machine}",  # the default hangs on the first network card
        "BORG_EXIT_CODES": "modern",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "no",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "no",
        "BORG_RSH": f"ssh -o BatchMode=yes -o ServerAliveInterval=10 -o ServerAliveCountMax=30"
        f" -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={KNOWN_HOSTS}",
    }
    if key := secret_file("borg_ssh_key"):
        environment["BORG_RSH"] += f" -o IdentitiesOnly=yes -i {key}"
    return environment


def security(repository: str) -> Path:
    """Where Borg remembers how far a repository was written, beside the data: a server that takes
    over must not use a counter of its cipher twice, nor take an older state for the newest, because
    whoever keeps the repository put it back (Borg's issue 22). A folder for each location: another
    one in the spec is no relocation.
    """
    return KNOWN_HOSTS.parent / "security" / hashlib.sha256(repository.encode()).hexdigest()[:16]


def secret_file(name: str) -> Path | None:
    """The secret as the unit's credential, else as delivered; None when missing or blank."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    for folder in ([Path(given)] if given else []) + [SECRETS]:
        path = folder / name
        if path.is_file() and path.read_bytes().strip():
            return path
    return None
