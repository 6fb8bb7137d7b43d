"""What the outside can reach: the declared ports and nothing else, whatever Docker publishes."""

from __future__ import annotations

import json
import re
import shlex
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.image.kit import Expected, Shell
from tests.image.scan import open_ports

PUBLISHED = 18_999
LOCAL_ONLY = re.compile(r"^(127\.|\[::1\]|10\.88\.88\.1:|\[fe80:)")
SYSTEM_UDP = {68, 546}
"""DHCP's client ports, where networkd listens on a link that asks for its address."""


@pytest.fixture
def published(sh: Shell, expect: Expected) -> Iterator[int]:
    """A port that a container publishes on 0.0.0.0, made from the machine's own Python."""
    if not expect["docker"]:
        pytest.skip("the spec has no Docker")
    files = (
        "$(readlink -f /usr/bin/python3) /usr/lib/python3.13/encodings /usr/lib/python3.13/*.py"
        " /usr/lib/python3.13/collections"
        " $(ldd /usr/bin/python3 | grep -o '/[^ ]*')"
    )
    serve = (
        "import socket\n"
        "server = socket.create_server(('', 80))\n"
        "while True: server.accept()[0].sendall(b'reached')\n"
    )
    sh(f"tar -chf - -C / {files} 2>/dev/null | docker import - bakehouse.local/probe:1")
    sh(
        f"docker run -d --name bakehouse-probe -p 0.0.0.0:{PUBLISHED}:80 bakehouse.local/probe:1"
        " $(readlink -f /usr/bin/python3) -S -c",
        serve,
    )
    yield PUBLISHED
    sh("docker rm -f bakehouse-probe && docker rmi bakehouse.local/probe:1")


def test_open_ports_are_the_declared_ones(addresses: list[str], expect: Expected) -> None:
    declared = set(expect["ports"]["tcp"])
    with ProcessPoolExecutor(len(addresses)) as pool:
        scans = list(pool.map(open_ports, addresses))
    for address, found in zip(addresses, scans, strict=True):
        open_here = found - set(expect["restricted"])
        needed = {int(expect["sshd"]["port"])} | ({80} if expect["sites"] else set())
        assert open_here <= declared, f"open at {address}, but not declared"
        assert needed <= open_here, f"not open at {address}"


def test_nobody_listens_for_udp(sh: Shell, expect: Expected) -> None:
    allowed = {*expect["ports"]["udp"], *SYSTEM_UDP}
    for line in sh("ss --udp --listening --numeric --no-header").splitlines():
        local = line.split()[3]
        if not LOCAL_ONLY.match(local.replace("%lo", "")):
            assert int(local.rpartition(":")[2]) in allowed, line


def test_a_published_container_port_stays_inside(
    sh: Shell, addresses: list[str], published: int
) -> None:
    """Docker rewrites a packet's destination before an input chain could see it."""
    inside = (
        "import socket, sys; print(socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
        ".recv(9).decode())"
    )
    deadline = time.monotonic() + 20
    while (
        answer := sh(f"python3 -c {shlex.quote(inside)} {published} 2>&1 || true")
    ).strip() != "reached":
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
    for address in addresses:
        with pytest.raises(OSError):
            socket.create_connection((address, published), 2)


def test_the_filter_drops_by_default(sh: Shell) -> None:
    rules = json.loads(sh("nft -j list table inet bakehouse"))["nftables"]
    chains = {item["chain"]["name"]: item["chain"] for item in rules if "chain" in item}
    assert {chains[name]["policy"] for name in ("prerouting", "input")} == {"drop"}


def test_machine_answers_ping_in_both_families(sh: Shell, addresses: list[str]) -> None:
    """Its addresses are its own, by the network configuration it was given."""
    shown = sh("ip -brief address show scope global")
    for address in addresses:
        assert f"{address}/" in shown
