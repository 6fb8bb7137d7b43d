"""The folders that apps keep their files in: `/data/apps/<app>/<volume>`, each shown to its app.

They come from another server with the rest of /data. A link among them would show the app whatever
it leads to, so what is shown is a real folder, below real folders.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from . import state
from .state import ProgramError

VOLUMES: Final = state.DATA / "apps"


def make(app: dict[str, Any], ids: tuple[int, int]) -> None:
    """A folder for each volume; one that exists keeps the owner it has. Raises as `check`."""
    check(app)
    for path in paths(app):
        if not path.exists():
            path.mkdir(parents=True, mode=0o750)
            os.chown(path, *ids)


def check(app: dict[str, Any]) -> None:
    """Raises ProgramError when a volume is there and is no folder, or is found through a link."""
    for path in paths(app):
        real = Path(os.path.realpath(path))
        if real != path:
            raise ProgramError(
                f"{app['name']}: its volume {path} leads to {real} by a link, which is not shown to"
                " an app; find out who made it, put a folder in its place, then:"
                f" systemctl restart bakehouse-app@{app['name']}"
            )
        if path.exists() and not path.is_dir():
            raise ProgramError(
                f"{app['name']}: its volume {path} is no folder; move it away, then:"
                f" systemctl restart bakehouse-app@{app['name']}"
            )


def paths(app: dict[str, Any]) -> list[Path]:
    """Where the app's volumes are, or will be."""
    return [VOLUMES / app["name"] / volume for volume in app["volumes"]]
