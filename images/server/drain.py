"""The end of a drain: Caddy closes in order what is idle, and what it still answers may end.

    drain SECONDS    nobody is being answered any more, or so many seconds have passed

The tunnel must be there until then: a client whose connection just went silent would find that out
by a request that gets no answer. Prints how many are `left`, as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Final

from . import acts, holding, state

UNIT: Final = "caddy.service"
TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
LISTENS: Final = "0A"
OPEN: Final = ("01", "04", "09", "0B")
"""Established, or closed by us and the last bytes not confirmed (proc(5); tcp_states.h)."""

LOOPBACK: Final = ("0100007F", "00000000000000000000000001000000")
MAPPED: Final = "0000000000000000FFFF0000"
"""Before an IPv4 address in the table of IPv6."""

SOON: Final = 0.05
"""Seconds between two looks."""

End = tuple[str, str]


def drain(seconds: float) -> int:
    """Let Caddy's connections of before end; how many have not.

    A reload does so: idle ones are closed, those of HTTP/2 are told to go away, the others end with
    their answer (Go's net/http, Server.Shutdown).
    """
    if not acts.active([UNIT]):
        return 0
    end = time.monotonic() + seconds
    owner = holding.caddy()
    before = clients(tables(), owner)
    acts.systemctl("try-reload-or-restart", UNIT, patience=30)
    while (left := before & clients(tables(), owner)) and time.monotonic() < end:
        time.sleep(SOON)
    return len(left)


def tables() -> str:
    """The kernel's tables of TCP connections."""
    return "".join(Path(name).read_text() for name in TABLES)


def clients(text: str, owner: int) -> set[End]:
    """Both ends of each open connection from elsewhere to a port on which `owner` listens."""
    rows = [line.split() for line in text.splitlines()]
    ports = {port(row[1]) for row in rows if row[3] == LISTENS and row[7] == str(owner)}
    return {
        (row[1], row[2])
        for row in rows
        if row[3] in OPEN
        and port(row[1]) in ports
        and row[2].partition(":")[0].removeprefix(MAPPED) not in LOOPBACK
    }


def port(end: str) -> str:
    """As the kernel writes it."""
    return end.rpartition(":")[2]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="drain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seconds", type=float)
    print(json.dumps({"left": drain(parser.parse_args().seconds)}))


if __name__ == "__main__":
    state.run_program(main)
