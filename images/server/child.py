"""A command that ends with us: in order, whatever ends us, and when it may not go on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

LOOK: Final = 0.25
"""Seconds between two looks at the free space: a fast disk takes some 0.5 GB meanwhile."""

ENDING: Final = 30
"""Seconds that pg_dump or Borg has to end in order; `acts.stop_workers` waits for 60."""

Look = Callable[[], None]
"""Raises ProgramError when what runs must end."""


def ended(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    look: Look | None = None,
    quiet: bool = False,
) -> tuple[int, str]:
    """A command's exit code and, when it is `quiet`, its errors; `look` is called while it runs.

    Whatever ends us, SIGTERM too, first ends the command in order: a Borg that is killed leaves its
    lock.
    """
    out, errors = (subprocess.DEVNULL, subprocess.PIPE) if quiet else (None, None)
    with subprocess.Popen(
        command, env=environment, stdout=out, stderr=errors, text=True
    ) as process:
        try:
            while True:
                try:
                    _, said = process.communicate(timeout=LOOK if look else None)
                    return process.returncode, said or ""
                except subprocess.TimeoutExpired:
                    if look:
                        look()
        except BaseException:
            process.terminate()
            try:
                process.wait(ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
