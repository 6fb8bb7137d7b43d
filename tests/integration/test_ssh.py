"""Our way into machines, against listeners that are none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from images import ssh
from images.run import CommandError


def door(folder: Path, port: int, prefix: tuple[str, ...] = ()) -> ssh.Door:
    """A way to a port of the loopback, with a key that nobody knows."""
    config = folder / "ssh_config"
    key = ssh.make_key(folder)
    config.write_text(ssh.config_text(folder, "127.0.0.1", port, "nobody", key), encoding="utf-8")
    return ssh.Door(config, prefix)


def test_a_machine_that_accepts_and_says_nothing_is_no_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = ssh.attempt(door(tmp_path, silent.getsockname()[1]), "true", timeout=1)
    assert (done.code, done.stdout) == (255, "")
    assert "no end after 1 s" in done.stderr


def test_nobody_there_is_no_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    done = ssh.attempt(door(tmp_path, port), "true", timeout=30)
    assert (done.code, "refused" in done.stderr) == (255, True)


def test_no_ssh_is_an_error(tmp_path: Path) -> None:
    """What no patience will mend must not be waited for."""
    nothing = door(tmp_path, 1, (str(tmp_path / "missing"),))
    with pytest.raises(CommandError, match="is not installed"):
        ssh.attempt(nothing, "true", timeout=30)
