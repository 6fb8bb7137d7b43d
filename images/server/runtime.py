#!/usr/bin/python3
"""Gives an app its secret environment, at the last moment and in memory only.

runtime.py WORDS...   the words are runc's; ends as runc, which then runs in our place

Docker writes the environment that it knows into its own files on the disk, and tells it to
`docker inspect`. So it is not told: what `containerd` lays down in /run for runc is completed here.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from . import state

RUNC: Final = "/usr/sbin/runc"
APPS: Final = state.RUN / "apps"
APP: Final = "BAKEHOUSE_APP"
"""The variable in which the compose file tells the app's name."""


def secret_environment(process: dict[str, Any]) -> list[str]:
    """`NAME=value` for each secret variable of the app that this process belongs to.

    Compose puts the app's name last in what it asks for, so an image cannot pretend to be another.
    """
    names = [
        word.partition("=")[2] for word in process.get("env", []) if word.startswith(f"{APP}=")
    ]
    path = APPS / names[-1] / "environment.json" if names else None
    if path is None or "/" in names[-1] or not path.is_file():
        return []
    return [f"{name}={value}" for name, value in sorted(state.read_json(path).items())]


def completed(process: dict[str, Any]) -> dict[str, Any]:
    """The process with the app's secrets in its environment, in the place of others so named."""
    more = secret_environment(process)
    taken = {word.partition("=")[0] for word in more}
    env = [word for word in process.get("env", []) if word.partition("=")[0] not in taken]
    return {**process, "env": [*env, *more]}


def create(words: list[str]) -> list[str]:
    """Complete the bundle that runc is to make a container of."""
    config = Path(value(words, "--bundle") or ".") / "config.json"
    spec = state.read_json(config)
    spec["process"] = completed(spec["process"])
    config.chmod(0o600)
    state.write(config, json.dumps(spec))
    return words


def execute(words: list[str]) -> list[str]:
    """Complete a process that is to join a container; its file may lie on a disk, so ours does not.

    A file in memory without a name takes its place; runc inherits it.
    """
    given = value(words, "--process")
    if not given:
        return words
    handle = os.memfd_create("process", 0)
    os.write(handle, json.dumps(completed(state.read_json(Path(given)))).encode())
    return [f"/proc/self/fd/{handle}" if word == given else word for word in words]


def value(words: list[str], option: str) -> str:
    """What follows an option, "" when it is not there."""
    for index, word in enumerate(words[:-1]):
        if word == option:
            return words[index + 1]
    return ""


def main() -> None:
    """Become runc, after what this program is for."""
    words = sys.argv[1:]
    if "create" in words:
        words = create(words)
    elif "exec" in words:
        words = execute(words)
    os.execv(RUNC, [RUNC, *words])  # noqa: S606


if __name__ == "__main__":
    state.run_program(main)
