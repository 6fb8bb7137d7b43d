"""What a container of the default server reaches, and what a neighbour on the link does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from images.lab import lab
from images.machine import Description, Machine, booted
from specs import layout
from specs.plan import Role

pytestmark = pytest.mark.root

Describe = Callable[[Role, bool], Description]

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("open")
except OSError as error:
    print(type(error).__name__)
"""

MANY = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
made = []
for _ in range(500):
    try:
        made.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3))
    except OSError:
        pass
print(len(made), 500)
"""


@pytest.fixture(scope="module")
def server(hobby: Describe) -> Iterator[Machine]:
    """A first primary with the guestbook running."""
    with lab() as place, booted(place, hobby("primary", True)) as machine:
        assert machine.settle() == "running"
        yield machine


def containers(machine: Machine) -> list[str]:
    """Names of the running containers."""
    return machine.run("docker ps --format '{{.Names}}' | sort").stdout.split()


def from_container(machine: Machine, address: str, port: int) -> str:
    """`open`, or the error, when a container of the guestbook connects."""
    name = containers(machine)[0]
    words = ["docker", "exec", "--interactive", name, "python3", "-", address, str(port)]
    return machine.run(words, stdin=CONNECT).stdout.strip()


def own_address(machine: Machine) -> str:
    found = json.loads(machine.run("ip --json -4 address show scope global up").stdout)
    links = {link["ifname"]: link["addr_info"][0]["local"] for link in found if link["addr_info"]}
    return str(links["host0"])


def gateway(machine: Machine) -> str:
    """The host's address on the container's own bridge."""
    form = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"
    return machine.run(["docker", "inspect", "-f", form, containers(machine)[0]]).stdout.strip()


def test_a_container_reaches_the_pooler(server: Machine) -> None:
    assert from_container(server, layout.POOLER_ADDRESS, layout.POOLER_PORT) == "open"


def test_an_app_cannot_use_up_the_pooler(server: Machine) -> None:
    """It counts before any login; the limit falls on the app's bridge, not on the server itself."""
    words = ["docker", "exec", "--interactive", containers(server)[0], "python3", "-"]
    shown = server.run([*words, layout.POOLER_ADDRESS, str(layout.POOLER_PORT)], stdin=MANY).stdout
    opened, whole = map(int, shown.split())
    assert 0 < opened <= 450 < whole
    probe = f"exec 3<>/dev/tcp/{layout.POOLER_ADDRESS}/{layout.POOLER_PORT}"
    server.run(["bash", "-c", probe])


def test_a_container_reaches_the_sites_by_the_public_address(server: Machine) -> None:
    assert from_container(server, own_address(server), 80) == "open"


@pytest.mark.parametrize("port", [22, 2019, 5432])
def test_a_container_reaches_nothing_else_here(server: Machine, port: int) -> None:
    for address in (own_address(server), gateway(server), layout.POOLER_ADDRESS):
        assert from_container(server, address, port) != "open"


def test_a_container_does_not_reach_the_metadata(server: Machine) -> None:
    """Told apart from an address that nobody has: something answers there in this test."""
    serve = "ip address add 169.254.169.254/32 dev bakehouse0"
    server.run(serve)
    try:
        as_root = server.run("curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/")
        assert as_root.stdout != "000"
        as_other = "setpriv --reuid=nobody curl -s -o /dev/null -m 3 http://169.254.169.254/"
        assert server.run(as_other, check=False).code != 0
        assert from_container(server, "169.254.169.254", 80) != "open"
    finally:
        server.run("ip address del 169.254.169.254/32 dev bakehouse0")


def test_a_neighbour_cannot_route_to_a_container(server: Machine) -> None:
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    inside = server.run(["docker", "inspect", "-f", form, containers(server)[0]]).stdout.strip()
    server.client(["ip", "route", "replace", inside, "via", own_address(server)])
    curl = ["curl", "-s", "-o", "/dev/null", "-m", "3", f"http://{inside}:8000/healthz"]
    assert server.client(curl, check=False).code != 0
    assert server.run(f"curl -s -o /dev/null -m 3 http://{inside}:8000/healthz").code == 0


def test_docker_and_the_filter_restart_without_each_other(server: Machine) -> None:
    """Docker's rules survive a reload of ours, and ours a restart of Docker."""
    ours = "nft --stateless --terse list table inet bakehouse"  # not who uses the pooler
    before = server.run(ours).stdout
    server.run("systemctl restart docker")
    assert server.run(ours).stdout == before
    docker = server.run("nft --stateless list table ip nat").stdout
    server.run("systemctl reload bakehouse-firewall")
    server.run("systemctl restart bakehouse-firewall")
    assert server.run("nft --stateless list table ip nat").stdout == docker
    assert from_container(server, layout.POOLER_ADDRESS, layout.POOLER_PORT) == "open"
    assert from_container(server, own_address(server), 22) != "open"
