#!/usr/bin/python3
"""Starts and stops an app's containers, for its systemd unit.

apps.py start APP   folders and secrets for the app, its containers up, each one healthy
apps.py stop APP    its containers gone, and what its image keeps in a VOLUME; files in /data stay
apps.py may-work    whether this server may run workers (exit 0) or not (exit 1)
"""

import argparse
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from typing import Any, Final

from . import release, state, volumes

HEALTHY: Final = 120
"""Seconds that a replica may take to answer its health path after the start."""


def app_named(name: str) -> dict[str, Any]:
    """The app's facts from server.json."""
    for app in state.server()["apps"]:
        if app["name"] == name:
            return dict(app)
    raise state.ProgramError(f"{name}: no such app in {state.ETC / 'server.json'}")


def docker(*words: str) -> bytes:
    """What a docker command prints. Raises ProgramError with its last words."""
    done = subprocess.run(["docker", *words], capture_output=True, check=False)
    if done.returncode != 0:
        raise state.ProgramError(f"docker {words[0]}: {done.stderr.decode().strip()}")
    return done.stdout


def owner(app: dict[str, Any]) -> tuple[int, int]:
    """User and group id that the app runs as: the spec's user, else the one of its image."""
    image = app["image"]
    user = app["user"] or docker("image", "inspect", "--format={{.Config.User}}", image).decode()
    user = user.strip() or "0"
    if user.replace(":", "").isdigit():
        return numbers(user, "", "")
    container = docker("create", "--pull=never", image, "true").decode().strip()
    try:
        return numbers(user, content(container, "/etc/passwd"), content(container, "/etc/group"))
    finally:
        docker("rm", "--volumes", container)  # else those that the image declares stay


def content(container: str, path: str) -> str:
    """The text of a file in a container."""
    with tarfile.open(fileobj=io.BytesIO(docker("cp", "-L", f"{container}:{path}", "-"))) as tar:
        file = tar.extractfile(tar.getmembers()[0])
        return file.read().decode() if file else ""


def numbers(user: str, passwd: str, group: str) -> tuple[int, int]:
    """The ids of `user` or `user:group`, each a number or a name in the image's own files.

    Without a group it is the user's own; a number that the image does not know is its own group.
    """
    name, _, group_name = user.partition(":")
    users = [line.split(":") for line in passwd.splitlines() if line.count(":") == 6]
    groups = [line.split(":") for line in group.splitlines() if line.count(":") == 3]
    known = {key: (int(u[2]), int(u[3])) for u in users for key in (u[2], u[0])}
    known_groups = {key: int(g[2]) for g in groups for key in (g[2], g[0])}
    if name not in known and not name.isdigit():
        raise state.ProgramError(f"the image has no user {name}; give the app's user as a number")
    uid, gid = known[name] if name in known else (int(name), int(name))
    if not group_name:
        return uid, gid
    if group_name not in known_groups and not group_name.isdigit():
        raise state.ProgramError(f"the image has no group {group_name}; give it as a number")
    return uid, known_groups[group_name] if group_name in known_groups else int(group_name)


def check_secrets(app: dict[str, Any]) -> None:
    """Each secret that the app names must have been delivered."""
    for name in (*app["secrets"], *app["secret_environment"].values()):
        source = state.RUN / "secrets" / name
        if not source.is_file():
            raise state.ProgramError(
                f"{app['name']}: its secret {name} is not there; put it into {source}"
                f" (mode 0600), then: systemctl restart bakehouse-app@{app['name']}"
            )


def place_secrets(app: dict[str, Any], ids: tuple[int, int]) -> None:
    """Copies of the app's secrets (memory only) that its user, and nobody else, can read.

    Those for its environment lie beside them, for `runtime.py` alone.
    """
    folder = state.RUN / "apps" / app["name"] / "secrets"
    variables = app["secret_environment"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o500)
    for name in app["secrets"]:
        target = folder / name
        target.touch(mode=0o400)
        target.write_bytes((state.RUN / "secrets" / name).read_bytes())
        os.chown(target, *ids)
    os.chown(folder, *ids)
    values = {key: (state.RUN / "secrets" / name).read_text() for key, name in variables.items()}
    state.write(folder.with_name("environment.json"), json.dumps(values))


def check_database(app: dict[str, Any]) -> None:
    """The file with DATABASE_URL, made by bakehouse-databases, must be there."""
    path = state.RUN / "apps" / f"{app['name']}.env"
    if app["database"] and not path.is_file():
        raise state.ProgramError(
            f"{app['name']}: {path} is not there;"
            " look at: systemctl status bakehouse-databases postgresql@*"
        )


def compose(name: str, *words: str) -> None:
    """Run docker compose on the app's file."""
    file = state.ETC / "apps" / name / "compose.yaml"
    command = ["docker", "compose", "--progress=quiet", "-f", str(file), *words]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise state.ProgramError(f"{name}: docker compose {words[0]} ended with {code}, see above")


def start(name: str) -> None:
    """The app up and healthy; ProgramError says what is missing."""
    app = app_named(name)
    check_database(app)
    check_secrets(app)
    ids = owner(app)
    volumes.make(app, ids)
    place_secrets(app, ids)
    if release.due(app) and may_work():
        release.run(app)
    compose(name, "up", "--detach", "--remove-orphans", "--no-build")
    for number, port in enumerate(app["ports"], 1):
        wait_healthy(f"{name}-{number}", port, app["health"])


def wait_healthy(container: str, port: int, path: str) -> None:
    """Until 127.0.0.1:port answers `path` with 2xx or 3xx; without a path nothing is asked.

    Raises ProgramError when the container ends, or after `HEALTHY` seconds.
    """
    end = time.monotonic() + HEALTHY
    while path:
        why = asked(port, path)
        if not why:
            return
        ended = docker("inspect", "--format={{.State.Running}}", container).strip() != b"true"
        if ended or time.monotonic() > end:
            show_log(container)
            what = "ended" if ended else f"is not healthy after {HEALTHY} s"
            raise state.ProgramError(
                f"{container} {what}: http://127.0.0.1:{port}{path}: {why}; its log is above"
            )
        time.sleep(0.5)


def asked(port: int, path: str) -> str:
    """What is wrong with the answer; nothing when it is 2xx or 3xx."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        status = connection.getresponse().status
        return "" if 200 <= status < 400 else f"answers {status}"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def show_log(container: str) -> None:
    """The container's last words into our own log: it is about to be removed."""
    subprocess.run(["docker", "logs", "--tail=20", container], check=False)


def may_work() -> bool:
    """Workers run on a primary or a throwaway; those of a standby run on its primary."""
    role = state.role()
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
        compose(options.app, "down", "--volumes", "--timeout", "30")


def condition() -> None:
    """For ExecCondition=: 1 skips the unit, 255 fails it, so that systemd tries it again."""
    try:
        sys.exit(0 if may_work() else 1)
    except state.ProgramError as error:
        print(f"<3>{error}", file=sys.stderr)
        sys.exit(255)


if __name__ == "__main__":
    state.run_program(main)
