"""Files that the peer may read: rsync's sending side over the folders that a swap carries."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection
from typing import Final

from . import state, sync
from .state import ProgramError

_FLAGS: Final = re.compile(r"-[nulHogDtpAXr]+e\.[A-Za-z]+")
_TIMEOUT: Final = re.compile(r"--timeout=[0-9]{1,4}")


def allowed(words: list[str], folders: Collection[str]) -> bool:
    """Whether a command is rsync's sending side, reading one of the folders that are carried.

    Flags are those of `-aHAX`, with `-n` and `-u`; letters after `e.` only name what the asking
    rsync can do (rsync's options.c, server_options).
    """
    head, tail = words[:3], words[-2:]
    middle = words[3:-2]
    return (
        head == ["rsync", "--server", "--sender"]
        and len(tail) == 2
        and tail[0] == "."
        and tail[1] in {f"{folder}/" for folder in folders}
        and len(middle) > 0
        and _FLAGS.fullmatch(middle[0]) is not None
        and all(word == "--numeric-ids" or _TIMEOUT.fullmatch(word) for word in middle[1:])
    )


def become_rsync(command: str) -> None:
    """Become rsync's sending side. Raises ProgramError for any other command."""
    words = shlex.split(command)
    if not allowed(words, sync.folders(state.server())):
        raise ProgramError(f"this is not for the peer: {command[:200]}")
    os.execve("/usr/bin/rsync", words, {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})  # noqa: S606
