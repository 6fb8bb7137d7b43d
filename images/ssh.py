"""SSH to a machine that we made: its own key pair, its host key checked from the first contact."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.run import Result, TimedOutError, run, show
from specs.errors import UsageError

ALIAS: Final = "machine"
"""The name by which a machine's SSH configuration knows it."""

NO_CONNECTION: Final = 255
"""The exit code of `ssh` when it is not the command's own (ssh(1), "Exit status")."""


SOCKET: Final = 107 - len(".0123456789abcdef")
"""Bytes that a shared connection's path may have: a socket's name has 107 (unix(7)), and `ssh`
first makes it under a name with a dot and 16 characters more (mux.c)."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair: the private one's file, and the public one as an authorized_keys line."""

    private: Path
    public: str


@dataclass(frozen=True, slots=True)
class Door:
    """The way into a machine. `prefix` puts a command where the machine can be reached."""

    config: Path
    prefix: tuple[str, ...] = ()

    def command(self, *words: str, options: Sequence[str] = ()) -> list[str]:
        """`ssh` to the machine; `words` are one shell command there, none of them a shell."""
        return [*self.prefix, "ssh", "-F", str(self.config), *options, ALIAS, *words]


def make_key(folder: Path) -> Key:
    """A new ed25519 pair in a folder that exists."""
    private = folder / "key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bakehouse", "-f", str(private)])
    return stored_key(folder)


def keep_key(folder: Path, text: str) -> Key:
    """Put a private key that exists already into a folder, as `make_key` would.

    Raises UsageError when it is none, or wants a passphrase.
    """
    private = folder / "key"
    private.touch(mode=0o600)
    private.write_text(f"{text.strip()}\n", encoding="utf-8")
    done = run(["ssh-keygen", "-y", "-P", "", "-f", str(private)], check=False)
    if done.code != 0:
        raise UsageError(
            "the operator's key is no private key without a passphrase",
            "give the text of the file `key` in `<home>/operator` of the machine that deploys",
        )
    private.with_suffix(".pub").write_text(done.stdout, encoding="utf-8")
    return stored_key(folder)


def stored_key(folder: Path) -> Key:
    """The pair that `make_key` put into a folder."""
    private = folder / "key"
    return Key(private, private.with_suffix(".pub").read_text(encoding="utf-8").strip())


def config_text(
    folder: Path, address: str, port: int, user: str, key: Key, *, known_as: str = ALIAS
) -> str:
    """An SSH configuration for one machine, fit for a person and for testinfra.

    What vouches for the machine is expected in `known_hosts` in the same folder, under the name
    `known_as`: its public host key, or the CA that certified it by that name. Sessions share
    one connection; where the path of its socket is too long each makes its own, which is slower.
    """
    path = f"{folder}/mux"
    fits = len(os.fsencode(path)) <= SOCKET
    shared = f"  ControlMaster auto\n  ControlPath {path}\n  ControlPersist 60\n" if fits else ""
    return f"""Host {ALIAS}
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {key.private}
  IdentitiesOnly yes
  IdentityAgent none
  PreferredAuthentications publickey
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
  HostKeyAlias {known_as}
  HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com,ssh-ed25519
  StrictHostKeyChecking yes
{shared}  ConnectTimeout 5
  ServerAliveInterval 5
  ServerAliveCountMax 3
  LogLevel ERROR
"""


def known_host(public: str, name: str = "") -> str:
    """A known_hosts line from the text of a public host key file; also for whom knows the machine
    by this `name`."""
    kind, value = public.split()[:2]
    return f"{','.join(filter(None, (ALIAS, name)))} {kind} {value}\n"


def close(door: Door) -> None:
    """End the shared connection: it must not outlive the machine's boot."""
    run(door.command(options=("-O", "exit")), check=False, timeout=10)


def as_root(
    door: Door,
    words: str | Sequence[str],
    *,
    timeout: float,
    check: bool = True,
    stdin: str | None = None,
) -> Result:
    """Run a shell line, or words, on the machine as root. Raises CommandError as `run` does.

    What nobody else may see goes in by `stdin`: words show in the lists of processes, on this host
    and there, and in the error of a command that fails.
    """
    line = words if isinstance(words, str) else show(words)
    there = show(["sudo", "-n", "--", "/bin/sh", "-c", line])
    return run(door.command(there), timeout=timeout, check=check, stdin=stdin)


def attempt(door: Door, command: str, timeout: float) -> Result:
    """Run a shell command on the machine, whatever comes of it; 255 means no connection.

    No end within `timeout` seconds is no connection either: a machine that boots or goes down may
    accept one and say nothing. Raises CommandError where there is no `ssh`.
    """
    try:
        return run(door.command(command), check=False, timeout=timeout)
    except TimedOutError as error:
        return Result(NO_CONNECTION, "", error.message)
