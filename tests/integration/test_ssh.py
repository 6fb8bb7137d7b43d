"""Our way into machines, against listeners that are none."""

from __future__ import annotations

import base64
import socket
from pathlib import Path

import pytest

from images import ssh
from images.home import Home
from images.providers.keys import GIVEN, operator_key
from images.run import CommandError
from specs.errors import UsageError


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


def test_a_machine_that_keeps_nothing_is_given_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its file's text, or in one line."""
    theirs = operator_key(Home(tmp_path / "theirs"))
    text = theirs.private.read_text()
    for name, given in (("text", text), ("line", base64.b64encode(text.encode()).decode())):
        monkeypatch.setenv(GIVEN, given)
        ours = operator_key(Home(tmp_path / name))
        assert ours.public.split()[:2] == theirs.public.split()[:2]
        assert ours.private.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv(GIVEN, "no key at all")
    with pytest.raises(UsageError, match="no private key"):
        operator_key(Home(tmp_path / "none"))
    assert not Home(tmp_path / "none").operator.exists()
    monkeypatch.setenv(GIVEN, "")
    assert operator_key(Home(tmp_path / "new")).public != theirs.public


def test_no_key_is_made_for_a_server_that_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GIVEN, "")
    home = Home(tmp_path / "home")
    with pytest.raises(UsageError, match="opens no server") as raised:
        operator_key(home, make=False)
    assert GIVEN in raised.value.hint
    assert not home.root.exists()
    made = operator_key(home)
    assert operator_key(home, make=False) == made
    monkeypatch.setenv(GIVEN, made.private.read_text())
    assert operator_key(home) == made
    monkeypatch.setenv(GIVEN, "")
    monkeypatch.setenv(GIVEN, operator_key(Home(tmp_path / "other")).private.read_text())
    with pytest.raises(UsageError, match="another key than"):
        operator_key(home)
