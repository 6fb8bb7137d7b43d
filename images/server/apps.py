#!/usr/bin/python3
"""Starts and stops an app's containers, for its systemd unit.

apps.py start APP   folders and secrets for the app, its containers up, each one healthy
apps.py stop APP    its containers gone; volumes and files stay
apps.py may-work    whether this server may run workers (exit 0) or not (exit 1)
"""

import argparse
import http.client
import os
import shutil
import subprocess
import sys
import time
from typing import Any, Final

from . import state

VOLUMES: Final = state.DATA / "apps"
HEALTHY: Final = 120
"""Seconds that a replica may take to answer its health path after the start."""


def app_named(name: str) -> dict[str, Any]:
    """The app's facts from server.json."""
    for app in state.server()["apps"]:
        if app["name"] == name:
            return dict(app)
    raise state.ServerError(f"{name}: no such app in {state.ETC / 'server.json'}")


def owner(app: dict[str, Any]) -> tuple[int, int]:
    """User and group id that the app runs as: the spec's, else the image's when it is a number."""
    user = app["user"]
    if not user:
        command = ["docker", "image", "inspect", "--format", "{{.Config.User}}", app["image"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise state.ServerError(
                f"{app['name']}: its image {app['image']} is not loaded;"
                " look at: journalctl -u bakehouse-images"
            )
        user = done.stdout.strip()
    uid, _, gid = user.partition(":")
    return (int(uid), int(gid or uid)) if (uid + gid).isdigit() else (0, 0)


def make_volumes(app: dict[str, Any], ids: tuple[int, int]) -> None:
    """A folder for each volume; one that exists keeps the owner it has."""
    for volume in app["volumes"]:
        path = VOLUMES / app["name"] / volume
        if not path.exists():
            path.mkdir(parents=True, mode=0o750)
            os.chown(path, *ids)


def place_secrets(app: dict[str, Any], ids: tuple[int, int]) -> None:
    """Copies of the app's secrets (memory only) that its user, and nobody else, can read."""
    folder = state.RUN / "apps" / app["name"] / "secrets"
    for name in app["secrets"]:
        source = state.RUN / "secrets" / name
        if not source.is_file():
            raise state.ServerError(
                f"{app['name']}: its secret {name} is not there; put it into {source}"
                f" (mode 0600), then: systemctl restart bakehouse-app@{app['name']}"
            )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o500)
    for name in app["secrets"]:
        target = folder / name
        target.touch(mode=0o400)
        target.write_bytes((state.RUN / "secrets" / name).read_bytes())
        os.chown(target, *ids)
    os.chown(folder, *ids)


def check_database(app: dict[str, Any]) -> None:
    """The file with DATABASE_URL, made by bakehouse-databases, must be there."""
    path = state.RUN / "apps" / f"{app['name']}.env"
    if app["database"] and not path.is_file():
        raise state.ServerError(
            f"{app['name']}: {path} is not there;"
            " look at: systemctl status bakehouse-databases postgresql@*"
        )


def compose(name: str, *words: str) -> None:
    """Run docker compose on the app's file."""
    file = state.ETC / "apps" / name / "compose.yaml"
    command = ["docker", "compose", "--progress=quiet", "-f", str(file), *words]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise state.ServerError(f"{name}: docker compose {words[0]} ended with {code}, see above")


def start(name: str) -> None:
    """The app up and healthy; state.ServerError says what is missing."""
    app = app_named(name)
    ids = owner(app)
    check_database(app)
    make_volumes(app, ids)
    place_secrets(app, ids)
    compose(name, "up", "--detach", "--remove-orphans", "--no-build")
    for port in app["ports"]:
        wait_healthy(name, port, app["health"])


def wait_healthy(name: str, port: int, path: str) -> None:
    """Until 127.0.0.1:port answers `path` with 2xx or 3xx; without a path nothing is asked."""
    end = time.monotonic() + HEALTHY
    why = ""
    while path and time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path, headers={"Host": "localhost"})
            status = connection.getresponse().status
            if 200 <= status < 400:
                return
            why = f"answers {status}"
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
        finally:
            connection.close()
        time.sleep(0.2)
    if path:
        raise state.ServerError(
            f"{name}: http://127.0.0.1:{port}{path} is not healthy after {HEALTHY} s ({why});"
            f" look at: docker compose -f {state.ETC}/apps/{name}/compose.yaml logs"
        )


def may_work() -> bool:
    """Workers run on a primary or a throwaway; those of a standby run on its primary."""
    role = state.boot()["role"]
    return role == "throwaway" or state.is_primary(state.server(), role)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("verb", choices=("start", "stop", "may-work"))
    parser.add_argument("app", nargs="?", default="")
    options = parser.parse_args()
    if options.verb == "may-work":
        condition()
    elif options.verb == "start":
        start(options.app)
    else:
        compose(options.app, "down", "--timeout", "30")


def condition() -> None:
    """For ExecCondition=: 1 skips the unit, 255 fails it, so that systemd tries it again."""
    try:
        sys.exit(0 if may_work() else 1)
    except state.ServerError as error:
        print(f"<3>{error}", file=sys.stderr)
        sys.exit(255)


if __name__ == "__main__":
    state.run_program(main)
