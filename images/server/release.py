"""An app's `release` command: what a new generation does to the data before it serves.

It runs in a container of its own, made like the app's: at a promote after Postgres was promoted and
before writes flow, else before the app starts on a server that may write. What ran is remembered
with the data, so it runs once for each image and command, and again only when it was cut off.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any, Final

from . import state, volumes
from .state import ProgramError

DONE: Final = "released.json"


def key(app: dict[str, Any]) -> str:
    """What the command and its image come to: another one is another release."""
    return hashlib.sha256(json.dumps([app["image"], app["release"]]).encode()).hexdigest()


def due(app: dict[str, Any]) -> bool:
    """Whether the app has such a command that the data here has not seen."""
    return bool(app["release"]) and known().get(app["name"]) != key(app)


def known() -> dict[str, str]:
    """The key of each app's last release on this data."""
    path = state.STATE / DONE
    return dict(state.read_json(path)) if path.exists() else {}


def command(app: dict[str, Any]) -> list[str]:
    """One container beside the app's own; without its label the watch leaves it alone."""
    file = state.ETC / "apps" / app["name"] / "compose.yaml"
    words = ["docker", "compose", "--progress=quiet", "-f", str(file), "run", "--rm", "--no-deps"]
    return [*words, "-T", "--label=bakehouse.app=", f"{app['name']}-1", *app["release"]]


def run(app: dict[str, Any]) -> None:
    """Run it to its end. Raises ProgramError when it fails; its output is in the journal.

    Raises as `volumes.check` before it runs.
    """
    volumes.check(app)
    done = subprocess.run(command(app), stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise ProgramError(
            f"{app['name']}: its release command ended with {done.returncode}; its output is in the"
            " journal above"
        )
    state.folder(state.STATE, 0o700)
    state.write(state.STATE / DONE, json.dumps({**known(), app["name"]: key(app)}) + "\n")
    print(f"{app['name']}: released", flush=True)
