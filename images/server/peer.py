"""The other server of a pair: who it is, what it may do here, and the tunnel to it.

    peer key      this server's public key, host key and ports as JSON; makes the key
    peer meet     be the peer of the server that standard input describes as JSON
    peer part     have no peer any more
    peer tunnel   hold the tunnel open (bakehouse-peer.service)

One account, `bakehouse-peer`, is how each gets into the other. By it one may run the hand
(`hand.py`), and reach Postgres' socket and the apps' ports; nothing else (sshd_config).
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from . import state
from .holding import FORWARD
from .state import ProgramError

ACCOUNT: Final = "bakehouse-peer"
FOLDER: Final = state.LIB / "peer"
KEY: Final = FOLDER / "key"
KNOWN: Final = FOLDER / "known_hosts"
CARD: Final = FOLDER / "peer.json"
CONFIG: Final = FOLDER / "ssh_config"
RULES: Final = FOLDER / "peer.nft"
"""What the tunnel's unit tells the packet filter each time before it opens the tunnel."""

LET_IN: Final = state.ROOT / "etc/ssh/authorized_keys.d" / ACCOUNT
HOST_KEY: Final = state.ROOT / "etc/ssh/ssh_host_ed25519_key.pub"
SOCKETS: Final = state.RUN / "peer"
"""The folder in which the peer's Postgres is found, as if it were here."""

POSTGRES: Final = SOCKETS / ".s.PGSQL.5432"
TRIES: Final = SOCKETS / "tries"

QUICK: Final = 30
"""Attempts in a row that follow each other at once: the peer may be in a reboot or in a swap."""

REST: Final = 15.0
"""Seconds before each further one. A peer that is gone for days must not fill the journal."""

TOGETHER: Final = 60.0
"""Seconds; attempts further apart are not of one row."""

ALIAS: Final = "peer"
UNIT: Final = "bakehouse-peer.service"
_KEY: Final = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]{60,100}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="peer", description=(__doc__ or "").splitlines()[0])
    verbs = {"key": key, "meet": meet, "part": part, "tunnel": tunnel}
    parser.add_argument("verb", choices=verbs)
    verbs[parser.parse_args().verb]()


def key() -> None:
    """Print what the peer has to know of this server; its private key stays here."""
    make_key()
    print(
        json.dumps(
            {
                "public": _public(KEY.with_suffix(".pub")),
                "host_key": _public(HOST_KEY),
                "ports": own_ports(),
            }
        )
    )


def make_key() -> None:
    """This server has a key of its own; a killed maker's half is made anew."""
    state.folder(FOLDER, 0o700)
    if KEY.exists() and KEY.with_suffix(".pub").exists():
        return
    for path in (KEY, KEY.with_suffix(".pub")):
        path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", ACCOUNT, "-f", str(KEY)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _public(path: Path) -> str:
    """Kind and value of a public key, without its comment."""
    if not path.exists():
        raise ProgramError(f"{path} does not exist: ssh.service makes it at the first boot")
    return " ".join(path.read_text().split()[:2])


def own_ports() -> dict[str, list[int]]:
    """The loopback ports of each web app's replicas."""
    return {app["name"]: app["ports"] for app in state.server()["apps"] if app["ports"]}


def meet() -> None:
    """Know the peer, let it in, and open the tunnel; again with the same card keeps an open one."""
    try:
        card = checked(json.load(sys.stdin))
    except ValueError as error:
        raise ProgramError(f"standard input is no JSON: {error}") from error
    make_key()
    card.setdefault("ports", own_ports())
    state.write(KNOWN, f"{ALIAS} {card['host_key']}\n")
    state.write(CONFIG, ssh_config(card["address"], card["port"]))
    state.write(RULES, rules(card["address"], card["port"]))
    state.write(LET_IN, f"restrict,port-forwarding {card['public']}\n", mode=0o644)
    changed = not CARD.exists() or state.read_json(CARD) != card
    state.write(CARD, json.dumps(card, indent=1, sort_keys=True) + "\n")
    TRIES.unlink(missing_ok=True)
    verb = "start" if not changed and POSTGRES.exists() else "restart"
    subprocess.run(["systemctl", "--no-block", verb, UNIT], check=True)


def checked(card: Any) -> dict[str, Any]:
    """The card, if nothing in it can mean more than it says. Raises ProgramError otherwise."""
    try:
        ports = card.get("ports")
        good = (
            _NAME.fullmatch(card["name"])
            and _KEY.fullmatch(card["public"])
            and _KEY.fullmatch(card["host_key"])
            and 0 < int(card["port"]) < 65536
            and "%" not in str(ipaddress.ip_address(card["address"]))
            and (ports is None or _are_ports(ports))
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        good = False
    if not good:
        raise ProgramError(f"this describes no peer: {json.dumps(card)[:500]}")
    wanted = ("name", "public", "host_key", "address", "port", "ports")
    return {name: card[name] for name in wanted if card.get(name) is not None}


def _are_ports(ports: Any) -> bool:
    return all(
        type(port) is int and 1023 < port < 65536 for listed in ports.values() for port in listed
    )


def part() -> None:
    """The peer is not let in any more, and the tunnel is closed. The own key stays.

    On a server that follows, apps with files end first: what an upload of before the last swap
    still writes here nobody carries any more, so nobody may be told that it is kept.
    """
    from . import acts  # noqa: PLC0415  the tunnel starts faster without it

    if state.recorded() == "following":
        acts.stop_apps()
    LET_IN.unlink(missing_ok=True)
    for path in (CARD, CONFIG, KNOWN, RULES):
        path.unlink(missing_ok=True)
    subprocess.run(["systemctl", "stop", UNIT], check=True)


def known() -> bool:
    """Whether this server has a peer."""
    return CARD.exists()


def card() -> dict[str, Any]:
    """What this server knows of its peer. Raises ProgramError when it has none."""
    if not known():
        raise ProgramError("this server has no peer: the operator introduces one (peer meet)")
    return dict(state.read_json(CARD))


def ssh_config(address: str, port: int) -> str:
    """How to reach the peer: by these keys only, without a question, soon sure when it is gone."""
    return f"""Host {ALIAS}
  HostName {address}
  Port {port}
  User {ACCOUNT}
  IdentityFile {KEY}
  IdentitiesOnly yes
  IdentityAgent none
  PreferredAuthentications publickey
  UserKnownHostsFile {KNOWN}
  GlobalKnownHostsFile none
  HostKeyAlias {ALIAS}
  HostKeyAlgorithms ssh-ed25519
  StrictHostKeyChecking yes
  UpdateHostKeys no
  BatchMode yes
  ConnectTimeout 3
  ServerAliveInterval 2
  ServerAliveCountMax 3
  ForwardAgent no
  LogLevel ERROR
"""


def rules(address: str, port: int) -> str:
    """Input of nft(8): the account reaches this port of the peer's, and no other server's.

    Its own filter has these sets (firewall.nft); a reload of that empties them, and the unit's next
    start fills them again. The connection that is open goes on.
    """
    found = ipaddress.ip_address(address)
    empty = "".join(f"flush set inet bakehouse peer_ssh{version}\n" for version in (4, 6))
    return f"{empty}add element inet bakehouse peer_ssh{found.version} {{ {found} . {port} }}\n"


def ssh(*options: str) -> list[str]:
    """`ssh` to the peer."""
    return ["ssh", "-F", str(CONFIG), *options, ALIAS]


def tunnel() -> None:
    """Become the `ssh` that holds the tunnel; it ends when the connection does."""
    given = Path(os.environ["CREDENTIALS_DIRECTORY"])
    words = tunnel_command(state.read_json(given / "peer.json"), own_ports(), given)
    POSTGRES.unlink(missing_ok=True)
    time.sleep(rest())
    os.execvp(words[0], words)  # noqa: S606


def rest() -> float:
    """How long this attempt is to wait, in seconds; counts it."""
    count = 1
    if TRIES.exists() and 0 <= time.time() - TRIES.stat().st_mtime < TOGETHER:
        count += int(TRIES.read_text() or 0)
    TRIES.write_text(str(count))
    return REST if count > QUICK else 0.0


def tunnel_command(
    peer: Mapping[str, Any], own: Mapping[str, Sequence[int]], given: Path
) -> list[str]:
    """The peer's Postgres and the replicas of every app that both servers have.

    A replica that the peer lacks leads to another one of the same app. 0117 leaves the socket to
    its owner and its group, pgbouncer. `given` has the files that root lends to the account.
    """
    forwards = [f"{POSTGRES}:{state.SOCKETS}/{POSTGRES.name}"]
    for name, ports in own.items():
        there = peer["ports"].get(name, [])
        forwards += [
            f"127.0.0.1:{port + FORWARD}:127.0.0.1:{there[replica % len(there)]}"
            for replica, port in enumerate(ports)
            if there
        ]
    options = [
        "-oExitOnForwardFailure=yes",
        "-oStreamLocalBindMask=0117",
        "-oStreamLocalBindUnlink=yes",
    ]
    files = [f"-oIdentityFile={given}/key", f"-oUserKnownHostsFile={given}/known_hosts"]
    config = ["ssh", "-F", str(given / "ssh_config"), "-N", *files]
    return [*config, *options, *(f"-L{forward}" for forward in forwards), ALIAS]


def ask(question: Mapping[str, Any], patience: float = 8) -> dict[str, Any]:
    """The answer of the peer's hand to one question. Raises ProgramError when it gives none."""
    card()
    try:
        done = subprocess.run(
            ssh(),
            input=json.dumps(question) + "\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
        return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise ProgramError(f"the peer says nothing within {patience:g} s") from None
    except (ValueError, TypeError):
        raise ProgramError(f"the peer cannot be asked: {done.stderr.strip()}") from None


if __name__ == "__main__":
    state.run_program(main)
