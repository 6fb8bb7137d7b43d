"""The local cloud: its network, its crashes, and that nothing of it is left behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from images import ssh
from images.door import open_door
from images.garbage import collect
from images.gc import find
from images.groups import GROUP, group_root
from images.home import Home
from images.network import NAMESPACES
from images.promote import lease
from images.providers.base import ROLE, SPEC, Server
from images.providers.local import Local
from images.providers.local_network import MARKS
from images.run import run
from specs.errors import BakehouseError
from specs.plan import ServerPlan, resolve
from specs.read import read
from tests.integration.clouds import NAME, Yard, yard
from tests.integration.conftest import HOBBY

pytestmark = pytest.mark.root
PROJECT = Path(__file__).parents[2]

TALK = """
import socket, sys
talk = socket.create_connection((sys.argv[1], 22), 5)
assert talk.recv(99).startswith(b"SSH-2.0")
print("connected", flush=True)
sys.stdin.readline()
talk.settimeout(5)
talk.sendall(b"SSH-2.0-test\\r\\n")
print("answered" if talk.recv(99) else "closed")
"""
"""Connects to an SSH server, and says something to it when told to."""

SEND = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sender:
    sender.bind((sys.argv[1], 0))
    sender.sendto(b"from " + sys.argv[1].encode(), (sys.argv[2], 5005))
"""

CREATE = """
import sys
from pathlib import Path
from images.home import Home
from images.providers.base import Order
from images.providers.local import Local
print("begins", flush=True)
Local(Home(Path(sys.argv[1]))).create_server(
    Order(sys.argv[2], "test-image", Path(sys.argv[3]).read_text(), {"spec": "hobby"}))
print("made", flush=True)
"""

CHURN = """
import sys
from pathlib import Path
from images.home import Home
from images.providers.local import Local
cloud, servers = Local(Home(Path(sys.argv[1]))), sys.argv[2:]
print("begins", flush=True)
while True:
    for server in servers:
        cloud.assign("hobby", server)
        cloud.set_labels(server, {"spec": "hobby", "role": "standby"})
        cloud.create_volume("churned", 8 << 20, {"spec": "hobby"})
        cloud.attach("churned", server)
        cloud.detach("churned")
        cloud.make_note("churned", {})
        cloud.change_note("churned", {"server": server})
    cloud.delete_volume("churned")
    cloud.delete_note("churned")
"""
"""Changes everything that can be changed, over and over."""

RACE = """
import sys
from pathlib import Path
from images.home import Home
from images.providers.local import Local
cloud = Local(Home(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
print("won" if cloud.make_note("race-lease-1", {"owner": sys.argv[2]}) else "lost")
"""


def talking(argv: list[str]) -> subprocess.Popen[str]:
    """A program of ours that waits for a line, once it has said its first one."""
    process = subprocess.Popen(
        argv,
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said, process.communicate()[1]
    return process


def traces(home: Home) -> list[str]:
    """Whatever of a home's cloud is on this machine: groups, network, mounts, loops, processes."""
    cloud = Local(home).cloud
    found = [str(path) for path in (group_root() / GROUP).glob(f"{cloud.name}*")]
    found += [str(path) for path in (NAMESPACES / cloud.name, MARKS / cloud.name) if path.exists()]
    lists = run(["losetup", "--list"]).stdout, Path("/proc/self/mountinfo").read_text()
    found += [line for text in lists for line in text.splitlines() if str(home.root) in line]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        found += [words] if str(home.root) in words else []
    return found


def remains(home: Home) -> list[str]:
    """The traces that stay: a shared SSH connection takes a moment to end, and where mounts are not
    shared another process that was isolated meanwhile holds a disk until it ends."""
    deadline = time.monotonic() + 300
    while (found := traces(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def host_network() -> str:
    """This machine's own routes, links and firewall."""
    commands = (
        ["ip", "route", "show", "table", "all"],
        ["ip", "-6", "route", "show", "table", "all"],
        ["ip", "-brief", "link"],
        ["nft", "list", "ruleset"],
    )
    return "".join(run(command).stdout for command in commands)


@pytest.fixture(scope="module")
def plan() -> ServerPlan:
    return resolve(read(HOBBY), None, ()).server


@pytest.fixture(scope="module")
def place(
    hobby_image: Path, plan: ServerPlan, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Yard]:
    root = tmp_path_factory.mktemp("home")
    before = host_network()
    with yard("local", root, hobby_image, plan) as found:
        yield found
        collect(find(Home(root), servers=True, everything=True), print)
    assert remains(Home(root)) == []
    assert not (root / "cloud").exists()
    assert host_network() == before


@pytest.fixture(scope="module")
def pair(place: Yard) -> tuple[Server, Server]:
    made = [place.provider.create_server(place.order(f"{NAME}-{n}")) for n in (1, 2)]
    for server in made:
        place.enter(server)
    return made[0], made[1]


def test_one_note_for_twenty_processes(place: Yard) -> None:
    argv = [sys.executable, "-c", RACE, str(place.home.root)]
    racers = [talking([*argv, f"p{number}"]) for number in range(20)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    ends = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert sorted(ends) == ["lost"] * 19 + ["won"]
    owner = place.provider.notes("race-lease-1")[0].labels["owner"]
    assert owner == f"p{ends.index('won')}"


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_move_breaks_what_is_connected(
    place: Yard, pair: tuple[Server, Server], family: str
) -> None:
    address = getattr(place.ip, family)
    ends = []
    for target in (pair[0], pair[1]):  # stays; then moves
        place.provider.assign(NAME, pair[0].id)
        with talking(place.provider.outside([sys.executable, "-c", TALK, address])) as client:
            place.provider.assign(NAME, target.id)
            ends.append(client.communicate("go\n", timeout=30))
    assert ends[0] == ("answered\n", "")
    assert "ConnectionResetError" in ends[1][1] or "TimeoutError" in ends[1][1]
    assert place.answering(address) == place.identity(pair[1])


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_only_its_holder_sends_from_a_floating_ip(
    place: Yard, pair: tuple[Server, Server], family: str
) -> None:
    """Both servers have the address; the router believes the one to which it points."""
    address = getattr(place.ip, family)
    client = "198.51.100.1" if family == "v4" else "2001:db8:ba4e::1"
    place.provider.assign(NAME, pair[0].id)
    listen = (
        "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM);"
        "s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); s.bind(('::', 5005));"
        "print('listens', flush=True); s.settimeout(20); n = s.recvfrom(99); print(n[0].decode())"
    )
    own = getattr(pair[1], "address" if family == "v4" else "address6")
    with talking(place.provider.outside([sys.executable, "-c", listen])) as listener:
        for source in (address, own):  # the first is dropped, the second arrives
            place.on(pair[1], f"python3 -c '{SEND}' {source} {client}")
        assert listener.communicate(timeout=30)[0] == f"from {own}\n"
    with talking(place.provider.outside([sys.executable, "-c", listen])) as listener:
        place.on(pair[0], f"python3 -c '{SEND}' {address} {client}")
        assert listener.communicate(timeout=30)[0] == f"from {address}\n"


def test_a_verb_killed_anywhere_breaks_nothing(place: Yard, pair: tuple[Server, Server]) -> None:
    """Each time the next one finds whole records, and can do all that the killed one did."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    cloud = place.provider
    argv = [sys.executable, "-c", CHURN, str(place.home.root), *(server.id for server in pair)]
    for _ in range(8):
        with talking(argv) as verb:
            time.sleep(moments.uniform(0, 0.3))
            assert verb.poll() is None, verb.communicate()[1]
            verb.kill()
        assert [server.id for server in cloud.servers(NAME)] == [server.id for server in pair]
        holder = cloud.floating_ip(NAME).server
        assert holder in ("", *(server.id for server in pair))
        if holder:
            assert place.answering(place.ip.v4) == place.identity(pair[holder == pair[1].id])
        cloud.delete_volume("churned")
        cloud.create_volume("churned", 8 << 20, {SPEC: NAME})
        cloud.attach("churned", pair[0].id)
        cloud.delete_volume("churned")
        cloud.delete_note("churned")
        assert cloud.make_note("churned", {})


def test_a_browser_gets_in(place: Yard, pair: tuple[Server, Server]) -> None:
    place.provider.assign(NAME, pair[0].id)
    with open_door(place.home, read(HOBBY), 0) as door:
        with socket.create_connection(("127.0.0.1", door.port), 10) as browser:
            browser.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")  # no host: told at once
            answer = b"".join(iter(lambda: browser.recv(4096), b""))
        with socket.create_connection(("127.0.0.1", door.port), 10) as slow:
            slow.shutdown(socket.SHUT_WR)
            assert slow.recv(99) == b""
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_reboot_keeps_disk_addresses_and_volume(place: Yard, pair: tuple[Server, Server]) -> None:
    """The floating IP answers again; one that is gone after a reboot is a known trap."""
    server = pair[0]
    place.provider.assign(NAME, server.id)
    place.provider.create_volume("kept", 64 << 20, {SPEC: NAME})
    device = place.provider.attach("kept", server.id)
    place.on(server, "echo disk >/root/mark")
    before = place.boot_id(server)
    place.on(server, "systemctl reboot", check=False)
    ssh.close(place.doors[server.id])
    place.enter(server)
    while place.boot_id(server) in ("", before):  # it was still going down
        place.enter(server)
    assert place.look(server).status == "running", "a reboot is no power cut"
    assert place.on(server, f"cat /root/mark; test -b {device} && echo volume").stdout == (
        "disk\nvolume\n"
    )
    assert place.answering(place.ip.v4) == place.identity(server)
    assert place.answering(place.ip.v6) == place.identity(server)


def test_power_off_from_inside(place: Yard, pair: tuple[Server, Server]) -> None:
    place.on(pair[1], "systemctl poweroff", check=False)
    while place.look(pair[1]).status != "off":
        time.sleep(0.1)
    place.provider.power_on(pair[1].id)
    place.enter(pair[1])


def test_a_host_s_reboot(place: Yard, pair: tuple[Server, Server]) -> None:
    """All that is not on a disk is gone: processes, network, devices. `power_on` brings it back."""
    cloud = Local(place.home).cloud
    place.provider.assign(NAME, pair[0].id)
    for server in pair:
        place.provider.power_off(server.id)
    run(["ip", "netns", "delete", cloud.name])
    shutil.rmtree(MARKS)
    for server in pair:
        place.provider.power_on(server.id)
    for server in pair:
        place.enter(server)
    assert place.provider.floating_ip(NAME).server == pair[0].id
    assert place.answering(place.ip.v4) == place.identity(pair[0])
    place.provider.assign(NAME, pair[1].id)
    assert place.answering(place.ip.v6) == place.identity(pair[1])


def test_a_killed_keeper_leaves_no_mount(place: Yard, pair: tuple[Server, Server]) -> None:
    cloud = Local(place.home).cloud
    group = group_root() / GROUP / cloud.group(pair[1].id) / "outer" / "cgroup.procs"
    for pid in group.read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    place.provider.power_off(pair[1].id)
    assert place.look(pair[1]).status == "off"
    folder = str(cloud.folder(pair[1].id))
    assert [trace for trace in traces(place.home) if folder in trace] == []


def test_gc_frees_what_is_out_of_use(place: Yard, pair: tuple[Server, Server]) -> None:
    """Last of the pair: the first server serves, the second was given up; a lease protects it."""
    cloud = place.provider
    cloud.set_labels(pair[0].id, {SPEC: NAME, ROLE: "active"})
    cloud.set_labels(pair[1].id, {SPEC: NAME, ROLE: "given-up"})
    held = lease.take(cloud, NAME, "somebody", {})
    collect(find(place.home, servers=True, everything=False), print)
    assert len(cloud.servers(NAME)) == 2
    held.release()
    cloud.image(HOBBY, "unused")
    collect(find(place.home, servers=False, everything=False), print)
    assert len(cloud.servers(NAME)) == 2
    collect(find(place.home, servers=True, everything=False), print)
    assert [server.id for server in cloud.servers(NAME)] == [pair[0].id]
    assert place.on(pair[0], "true").code == 0
    assert [raw.name for raw in Local(place.home).cloud.images.iterdir()] == ["test-image.raw"]
    assert find(place.home, servers=True, everything=False) == []


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.6])
def test_a_killed_creation_is_finished_by_the_next(
    place: Yard, tmp_path: Path, delay: float
) -> None:
    order = place.order(f"killed-{round(delay * 100)}")
    (tmp_path / "user-data").write_text(order.user_data)
    argv = [sys.executable, "-c", CREATE, str(place.home.root), order.name]
    with talking([*argv, str(tmp_path / "user-data")]) as maker:
        time.sleep(delay)
        maker.kill()
    made = place.provider.create_server(order)
    assert place.provider.create_server(order).id == made.id
    assert [s.name for s in place.provider.servers(NAME)].count(order.name) == 1
    deadline = time.monotonic() + 30
    while place.look(made).status != "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if delay == 0.3:
        place.enter(made)
    place.provider.delete_server(made.id)


def test_what_cannot_boot_is_told_and_deleted(place: Yard) -> None:
    cloud = place.provider
    order = place.order("broken")
    order = replace(order, image=cloud.image(HOBBY, "no-disk"))
    with pytest.raises(BakehouseError, match="no disk image with a GPT"):
        cloud.create_server(order)
    left = next(server for server in cloud.servers(NAME) if server.name == "broken")
    assert left.status == "off"
    cloud.delete_server(left.id)
    assert [trace for trace in traces(place.home) if f"servers/{left.id}" in trace] == []


def test_a_deleted_home_is_found(
    tmp_path: Path, hobby_image: Path, plan: ServerPlan, place: Yard
) -> None:
    """Somebody removed the folder while a server ran: gc, of any home, ends what still runs."""
    lost = Home(tmp_path / "lost")
    with yard("local", lost.root, hobby_image, plan) as there:
        server = there.provider.create_server(there.order("lost"))
        there.provider.create_volume("lost", 64 << 20, {})
        there.provider.attach("lost", server.id)
        name = Local(lost).cloud.name
        shutil.rmtree(lost.root)
    assert name in "".join(traces(lost))
    collect(find(place.home, servers=False, everything=False), print)
    assert remains(lost) == []
