"""How the operator talks to a server: SSH as the admin, our programs there as root, JSON back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from images import ssh
from images.providers.base import Server
from images.run import CommandError, Result, TimedOutError, run, show
from specs.errors import BakehouseError

PYTHON: Final = ("/usr/bin/python3", "-IB", "-m")
OWN: Final = ("-oControlPath=none",)
"""A connection of its own: over a shared one, a session that we end goes on at the other end, and
holds our pipe open."""

BRING: Final = (
    "bring `operator/`, and the host CA, from the machine that deployed it "
    '(docs/promote.md, "Another machine")'
)
"""What to do at a machine that lacks a spec's keys."""

LIMIT: Final = 60.0
"""Seconds that a short command may take, the connection included."""


class UnreachableError(BakehouseError):
    """A server does not answer by SSH."""


class LockedOutError(UnreachableError):
    """A server does not let this machine in, or this machine cannot tell that it is the server. It
    may well live and serve: nobody may conclude that it is dead."""


class RefusedError(BakehouseError):
    """A server's program answered that it will not, or cannot."""


@dataclass(slots=True)
class Contact:
    """A server and the way into it, which is looked for at the first need: it may be off."""

    server: Server
    find_door: Callable[[], ssh.Door]
    _door: ssh.Door | None = None

    @property
    def door(self) -> ssh.Door:
        """The way in. Raises UnreachableError when the server has none."""
        if self._door is None:
            try:
                self._door = self.find_door()
            except UnreachableError:
                raise
            except BakehouseError as error:
                raise UnreachableError(error.message, error.hint) from error
        return self._door

    @property
    def name(self) -> str:
        """The server's name, for messages."""
        return self.server.name

    def shell(self, line: str, *, timeout: float = LIMIT, stdin: str | None = None) -> Result:
        """Run a shell line there as root, whatever its exit code.

        Raises UnreachableError when the connection fails, or ends.
        """
        try:
            done = ssh.as_root(self.door, line, timeout=timeout, check=False, stdin=stdin)
        except TimedOutError as error:
            raise UnreachableError(
                f"{self.name} did not answer within {timeout:g} s", "see whether it is up"
            ) from error
        if done.code == ssh.NO_CONNECTION:
            raise no_way_in(self.name, last_line(done.stderr))
        return done

    def program(
        self, module: str, *words: str, given: Any = None, timeout: float = LIMIT
    ) -> dict[str, Any]:
        """The last line that one of our programs there prints, as JSON; `given` goes in as JSON.

        Raises RefusedError with what it said when it fails, UnreachableError as `shell`.
        """
        stdin = None if given is None else json.dumps(given) + "\n"
        done = self.shell(
            show([*PYTHON, f"bakehouse.{module}", *words]), timeout=timeout, stdin=stdin
        )
        shown = " ".join((module, *words))
        if done.code != 0:
            said = last_line(done.stderr) or last_line(done.stdout) or f"exit code {done.code}"
            raise RefusedError(f"{self.name}: {shown}: {said}", f"see {self.name}'s journal")
        return parsed(done.stdout, f"{self.name}: {shown}")

    def hand(self, do: str, *, timeout: float = LIMIT, **more: Any) -> dict[str, Any]:
        """One request to the server's hand. Raises RefusedError when it answers that it failed."""
        answer = self.program("hand", given={"do": do, **more}, timeout=timeout)
        if not answer.get("ok"):
            raise RefusedError(f"{self.name}: {do}: {answer.get('error', 'refused')}")
        return answer

    def follow(
        self, module: str, *words: str, on_line: Callable[[str], None], timeout: float | None = None
    ) -> int:
        """Run a program there and pass on each line that it prints; its exit code, 255 when the
        connection failed or ended. Raises UnreachableError when it has not ended in time."""
        line = show(["sudo", "-n", "--", *PYTHON, f"bakehouse.{module}", *words])
        try:
            command = self.door.command(line, options=OWN)
            return run(command, check=False, on_line=on_line, timeout=timeout).code
        except CommandError as error:
            raise UnreachableError(error.message, error.hint) from error


def no_way_in(server: str, said: str) -> UnreachableError:
    """What ssh said of a server to which there is no connection, the last line of it; the words are
    those of OpenSSH's sshconnect.c, sshconnect2.c and kex.c. Whoever came with a wrong key is sent
    away before that for up to ten minutes (sshd_config(5), "PerSourcePenalties")."""
    if "Permission denied (" in said:
        return LockedOutError(
            f"{server} answers, and does not let this machine's key in ({said})", BRING
        )
    if said.startswith("Host key verification failed"):
        return LockedOutError(
            f"{server} answers with a host key that nothing here vouches for", BRING
        )
    if said.startswith("kex_exchange_identification:"):
        return LockedOutError(
            f"{server} answers, and closes the connection at once ({said})",
            "a machine that came with a wrong key has to wait: `invoke status` in some minutes",
        )
    return UnreachableError(
        f"{server} does not answer by SSH: {said}", "see whether it is up: `invoke status`"
    )


def last_line(text: str) -> str:
    """The last line that says something, without a journal level before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("<3>") if lines else ""


def parsed(text: str, who: str) -> dict[str, Any]:
    """The last line of `text` as a JSON object."""
    try:
        found = json.loads(last_line(text) or "{}")
    except ValueError as error:
        raise RefusedError(f"{who}: no answer in JSON ({error})") from error
    if not isinstance(found, Mapping):
        raise RefusedError(f"{who}: the answer is no JSON object")
    return dict(found)
