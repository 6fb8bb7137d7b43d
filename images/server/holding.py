"""Requests to apps with files, held for the moment in which the files move.

Caddy is left alone: a reload would close its clients' connections, and an app that refuses would be
taken out of its rotation for seconds. Instead its new connections are led to a listener
(`bakehouse-hold.socket`) that accepts none while `HOLD` says so: they wait in the kernel's queue,
also if the program behind it dies.
"""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from . import state
from .state import ProgramError

HOLDER: Final = 19_999
"""Where `bakehouse-hold.socket` listens; `specs.layout` has the same."""

FORWARD: Final = 10_000
"""From a replica's port here to the port that leads to the same replica of the peer."""

HOLD: Final = state.RUN / "hold"
"""What becomes of held requests: `hold`, `here`, `peer`."""

Pair = tuple[int, int]
"""A connection by its ends on loopback: the replica's port, and Caddy's."""

DRAINING: Final = state.ROOT / "run/caddy/draining"
TABLE: Final = "bakehouse_swap"
NOTHING: Final = f"table ip {TABLE}\ndelete table ip {TABLE}\n"


def apps() -> list[dict[str, Any]]:
    """Web apps that keep files."""
    return [app for app in state.server()["apps"] if app["volumes"] and app["ports"]]


def ports() -> list[int]:
    """The loopback ports of all their replicas."""
    return [port for app in apps() for port in app["ports"]]


def hold() -> None:
    """New requests to these apps wait; those that run go on."""
    if ports():
        _mode("hold")
        _nft(table(ports(), caddy(), f"redirect to :{HOLDER}"))


def drop() -> None:
    """Requests that wait are answered here, and new ones go their usual way."""
    if ports():
        _mode("here")
        _nft(NOTHING)


def forward() -> None:
    """Requests that wait, and new ones, are answered by the peer's replicas."""
    if ports():
        _mode("peer")
        pairs = ", ".join(f"{port} : {port + FORWARD}" for port in ports())
        _nft(table(ports(), caddy(), f"redirect to :tcp dport map {{ {pairs} }}"))


def now() -> str:
    """`none`, `hold` or `forward`."""
    done = _run(["nft", "list", "table", "ip", TABLE])
    if done.returncode != 0:
        return "none"
    return "hold" if f":{HOLDER}" in done.stdout else "forward"


def table(held: list[int], owner: int, verdict: str) -> str:
    """Caddy's new connections only, before Docker (-100) gives them their container's address."""
    listed = ", ".join(str(port) for port in held)
    return (
        f"{NOTHING}table ip {TABLE} {{\n"
        "  chain output {\n    type nat hook output priority -110; policy accept;\n"
        f"    meta skuid {owner} ip daddr 127.0.0.1 tcp dport {{ {listed} }} {verdict}\n  }}\n}}\n"
    )


def running() -> set[Pair]:
    """Requests of Caddy that these apps are still answering here."""
    own = set(ports())
    return answering(Path("/proc/net/tcp").read_text(), caddy(), own) if own else set()


def answering(text: str, owner: int, own: Collection[int]) -> set[Pair]:
    """Caddy's connections to the ports of its `own` apps, by /proc/net/tcp.

    Those that were led to the holder look the same at Caddy's end, and are left out.
    """
    sockets = list(established(text))
    waiting = {there for here, there, _ in sockets if here[1] == HOLDER}
    return {
        (there[1], here[1])
        for here, there, uid in sockets
        if uid == owner and there[1] in own and here not in waiting
    }


def established(text: str) -> Iterator[tuple[tuple[str, int], tuple[str, int], int]]:
    """Own end, other end and owner of each established connection in /proc/net/tcp (proc(5))."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if words[3] == "01":
            yield _end(words[1]), _end(words[2]), int(words[7])


def _end(word: str) -> tuple[str, int]:
    address, port = word.split(":")
    return address, int(port, 16)


def caddy() -> int:
    """The number of Caddy's account."""
    return pwd.getpwnam("caddy").pw_uid


def drain(on: bool) -> None:
    """While it is on, Caddy asks its clients to come back by a new connection."""
    if on and DRAINING.parent.is_dir():
        DRAINING.touch(mode=0o644)
        DRAINING.chmod(0o644)
    elif not on:
        DRAINING.unlink(missing_ok=True)


def _mode(word: str) -> None:
    new = HOLD.with_suffix(".new")
    new.write_text(word)
    new.chmod(0o644)
    new.rename(HOLD)


def _nft(rules: str) -> None:
    done = _run(["nft", "-f", "-"], rules)
    if done.returncode != 0:
        raise ProgramError(f"nft: {done.stderr.strip()}")


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=10
    )
