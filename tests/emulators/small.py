"""A server small enough to boot at once: nothing in it but a shell that waits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from images.run import run

INIT: Final = "#!/bin/sh\ntrap 'exit 0' 38\nwhile :; do sleep 60 & wait; done\n"
"""Goes down by the signal that asks systemd to (SIGRTMIN+4)."""
PROGRAMS: Final = {"sh": "bin/sh", "sleep": "bin/sleep"}


def small_tree(folder: Path) -> Path:
    """The files of such a server, with this host's shell and the libraries that it needs."""
    for place in ("bin", "sbin", "etc", "usr/bin", "var/lib", "proc", "sys", "dev", "run", "tmp"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for program, at in PROGRAMS.items():
        found = shutil.which(program)
        assert found is not None
        shutil.copy2(found, folder / at)
        for word in run(["ldd", found]).stdout.split():
            if word.startswith("/"):
                library = folder / word.removeprefix("/")
                library.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(word, library)
    (folder / "etc/os-release").write_text("ID=small\n", encoding="utf-8")
    (folder / "sbin/init").write_text(INIT, encoding="utf-8")
    (folder / "sbin/init").chmod(0o755)
    return folder
