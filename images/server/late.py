"""Answers that wait: requests that ran at the hold end here, and what they wrote goes to the peer.

Whoever is told that a file is kept may ask for it at once, and then the peer answers. So the answer
to such a request is held back, by the packet filter on its way to Caddy, until a pass over the
files came after it: TCP sends it again and again. Nobody needs to be alive for an answer to go out:
without a word from the peer each one is let go after `SECONDS`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final

from . import holding
from .holding import Pair
from .state import ProgramError

TABLE: Final = "bakehouse_late"
NOTHING: Final = f"table ip {TABLE}\ndelete table ip {TABLE}\n"

SECONDS: Final = 30
"""How long an answer is held without a word from the peer."""

BARE: Final = 80
"""Bytes of the largest packet that carries nothing: two headers of 20, and 40 of TCP's options."""

SOON: Final = 0.05
"""Seconds between two looks for an answer."""


def hold(requests: Collection[Pair]) -> int:
    """Of these requests, answers that have not begun wait from now on, and no others; how many."""
    try:
        pairs = unanswered(_ss(), requests) if requests else set()
        _nft(table(pairs) if pairs else NOTHING)
    except ProgramError as error:  # no reason to give a swap up: they are answered at once then
        print(f"<4>answers are not held back: {error}", file=sys.stderr)
        return 0
    return len(pairs)


def wait(seconds: float) -> list[Pair]:
    """The connections whose answer is ready and held back, as soon as there is one."""
    renew(_held())
    end = time.monotonic() + seconds
    while True:
        ready = sorted(pair for pair, packets in _held().items() if packets)
        if ready or not holding.running() or time.monotonic() > end:
            return ready
        time.sleep(SOON)


def let_go(pairs: Iterable[Pair]) -> None:
    """What these wrote was carried: TCP's next attempt arrives."""
    gone = set(pairs)
    renew({pair: packets for pair, packets in _held().items() if pair not in gone})


def drop() -> None:
    """Nothing is held back any more."""
    if holding.ports():
        _nft(NOTHING)


def renew(held: Mapping[Pair, int]) -> None:
    """Exactly these are held, for `SECONDS` from now; with how many packets already were."""
    listed = elements(held)
    add = f"add element ip {TABLE} late {{ {listed} }}\n" if listed else ""
    if _there():
        with suppress(ProgramError):  # they go out by themselves
            _nft(f"flush set ip {TABLE} late\n{add}")


def table(pairs: Iterable[Pair]) -> str:
    """Input of nft(8): packets of these connections that carry more than an acknowledgement, once
    Docker's translation of addresses is undone (priority 100)."""
    return (
        f"{NOTHING}table ip {TABLE} {{\n"
        "  set late {\n    type inet_service . inet_service\n    flags timeout\n    counter\n"
        f"    timeout {SECONDS}s\n    elements = {{ {elements(dict.fromkeys(pairs, 0))} }}\n  }}\n"
        "  chain input {\n    type filter hook input priority 200; policy accept;\n"
        f"    ip saddr 127.0.0.1 ip length > {BARE} tcp sport . tcp dport @late drop\n  }}\n}}\n"
    )


def elements(held: Mapping[Pair, int]) -> str:
    """As nft(8) writes the content of a set; a packet counts for at least the bytes that it has."""
    return ", ".join(
        f"{replica} . {caddy} counter packets {packets} bytes {packets * BARE}"
        for (replica, caddy), packets in sorted(held.items())
    )


def unanswered(text: str, known: Collection[Pair]) -> set[Pair]:
    """Those of the `known` connections on which Caddy has received nothing yet, by `ss -tinHO`.

    ss(8) leaves out a counter that is zero.
    """
    found = set()
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or any(word.startswith("bytes_received:") for word in words):
            continue
        here, there = (word.rpartition(":")[2] for word in words[2:4])
        if here.isdecimal() and there.isdecimal():
            found.add((int(there), int(here)))
    return found.intersection(known)


def listed(text: str) -> dict[Pair, int]:
    """The set's connections, and how many packets of each were dropped, by `nft --json`."""
    found: dict[Pair, int] = {}
    for entry in json.loads(text)["nftables"]:
        for element in entry.get("set", {}).get("elem", ()):
            replica, caddy = element["elem"]["val"]["concat"]
            counter = element["elem"].get("counter", {"packets": 0})
            found[int(replica), int(caddy)] = int(counter["packets"])
    return found


def _ss() -> str:
    ports = " or ".join(f"dport = :{port}" for port in holding.ports())
    if not ports:
        return ""
    return _run(["ss", "-tinHO", "state", "established", f"( {ports} )"])


def _there() -> bool:
    command = ["nft", "list", "table", "ip", TABLE]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _held() -> dict[Pair, int]:
    """What the set has now; nothing when there is no set."""
    command = ["nft", "--json", "list", "set", "ip", TABLE, "late"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return listed(done.stdout) if done.returncode == 0 else {}
    except (KeyError, TypeError, ValueError):  # said otherwise by another version of nft
        return {}


def _nft(rules: str) -> None:
    _run(["nft", "-f", "-"], rules)


def _run(command: list[str], text: str = "") -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=10
    )
    if done.returncode != 0:
        raise ProgramError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
