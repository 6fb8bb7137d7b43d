"""Apps on a booted server: replicas behind Caddy, kills, reboots, secrets, rights.

The server is the hobby spec's: two guestbooks over Postgres behind Caddy.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from images.lab import lab
from images.machine import Description, Machine, booted
from images.run import start
from specs.plan import Role

pytestmark = pytest.mark.root

Describe = Callable[[Role, bool], Description]

APP = "bakehouse-app@guestbook"
REQUESTS = 1000
SHOOT = """
import http.client, sys, threading
host, count = sys.argv[1], int(sys.argv[2])
failed, lock, left = [], threading.Lock(), iter(range(count))
def work():
    connection = None
    while True:
        with lock:
            if next(left, None) is None:
                return
        try:
            connection = connection or http.client.HTTPConnection(host, timeout=30)
            connection.request("GET", "/entries?limit=1")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failed.append(answer.status)
        except OSError as error:
            failed.append(repr(error))
            connection = None
print("started", flush=True)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failed)
"""
"""Requests over four kept connections; prints what failed."""


LOST = """
table ip lost {
  chain output {
    type filter hook output priority -150; policy accept;
    meta skuid caddy ip daddr 127.0.0.1 tcp dport 20000-20001 tcp flags & (syn | ack) == syn \
      numgen inc mod 2 0 counter drop
  }
}
"""
"""Every other attempt of Caddy's to reach a replica is lost."""

PARTING = """
import http.client, json, sys, time
host, half = sys.argv[1], b"x" * 32768
idle = http.client.HTTPConnection(host, timeout=60)
idle.request("GET", "/healthz")
idle.getresponse().read()
upload = http.client.HTTPConnection(host, timeout=60)
upload.putrequest("PUT", "/files/parting")
upload.putheader("Content-Length", str(2 * len(half)))
upload.endheaders(half)
time.sleep(0.5)
print("under way", flush=True)
closed = idle.sock.recv(1)
time.sleep(2)
upload.send(half)
answer = upload.getresponse()
answer.read()
last = [answer.status, answer.will_close]
after = http.client.HTTPConnection(host, timeout=60)
after.request("GET", "/healthz")
print(json.dumps([closed.decode(), last, after.getresponse().status]))
"""
"""A connection on which nothing is asked, and an upload that goes on once that one has ended."""


@pytest.fixture(scope="module")
def server(hobby: Describe) -> Iterator[Machine]:
    """A first primary, everything started."""
    with lab() as place, booted(place, hobby("primary", True)) as machine:
        machine.run(f"systemctl start {APP}")
        yield machine


def ask(server: Machine, *words: str) -> Any:
    """What the guestbook answers to curl on the client's side."""
    base = f"http://{server.address.v4}"
    done = server.client(["curl", "-sS", "--fail-with-body", *words[:-1], base + words[-1]])
    return json.loads(done.stdout)


def sign(server: Machine, id: str) -> Any:
    entry = json.dumps({"id": id, "name": "Ann", "text": "was <here>"})
    header = "Content-Type: application/json"
    return ask(server, "-H", header, "--data", entry, "/entries")


def running(server: Machine) -> set[str]:
    """The names of running containers."""
    return set(server.run("docker ps --format '{{.Names}}'").stdout.split())


def eventually(check: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether it becomes true."""
    deadline = time.monotonic() + seconds
    while not (done := check()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return done


def test_at_the_end_of_a_drain_idle_connections_end_in_order_and_answers_are_whole(
    server: Machine, tmp_path: Path
) -> None:
    script, told = tmp_path / "parting.py", tmp_path / "told"
    script.write_text(PARTING, encoding="utf-8")
    users = start(server.lab.client([sys.executable, str(script), server.address.v4]), output=told)
    try:
        assert eventually(lambda: told.exists() and "under way" in told.read_text())
        done = server.run("python3 -IB -m bakehouse.drain 20", timeout=60)
        users.popen.wait(30)
    finally:
        users.stop()
    assert json.loads(done.stdout) == {"left": 0}
    idle, upload, after = json.loads(told.read_text().splitlines()[-1])
    assert idle == "", "the idle connection was closed, not reset"
    assert upload == [201, True], "the upload was answered, and the connection ends with that"
    assert after == 200, "who comes now is answered"


def test_a_write_whose_connection_takes_two_attempts_is_answered(server: Machine) -> None:
    """As on a server that is too busy to take every first packet."""
    server.run("nft -f -", stdin=LOST)
    try:
        assert [sign(server, f"lost-{number}")["id"] for number in range(3)]
    finally:
        dropped = server.run("nft list table ip lost; nft delete table ip lost").stdout
    assert " packets 0 " not in dropped


def test_an_access_log_that_is_full_rolls_over_and_nobody_notices(server: Machine) -> None:
    """Caddy gives the new log the old one's owner, which its unit must not forbid."""
    server.run("truncate -s 20M /var/log/caddy/access.log && systemctl restart caddy")
    assert all(ask(server, "/healthz")["ok"] for _ in range(3))
    rolled = "cd /var/log/caddy && ls access-*.log.gz && ! ls access-*.log"
    assert eventually(lambda: server.run(rolled, check=False).code == 0)
    assert ask(server, "/healthz")["ok"]
    assert server.run("systemctl show -P NRestarts caddy").stdout == "0\n"


def test_both_replicas_answer(server: Machine) -> None:
    def seen() -> set[str]:
        return {ask(server, "/healthz")["replica"] for _ in range(4)}

    assert eventually(lambda: seen() == {"guestbook-1", "guestbook-2"})


@pytest.mark.parametrize(
    "kill",
    [
        "docker kill guestbook-1",
        "kill -9 $(docker inspect -f '{{.State.Pid}}' guestbook-2)",
    ],
)
def test_a_killed_replica_fails_no_request_and_comes_back(server: Machine, kill: str) -> None:
    name = kill.rsplit(maxsplit=1)[-1].rstrip(")")
    before = server.run(f"docker inspect -f '{{{{.State.StartedAt}}}}' {name}").stdout
    words = [sys.executable, "-c", SHOOT, server.address.v4, str(REQUESTS)]
    with subprocess.Popen(server.lab.client(words), stdout=subprocess.PIPE, text=True) as shooting:
        assert shooting.stdout is not None
        assert shooting.stdout.readline() == "started\n"
        server.run(kill)
        assert shooting.stdout.read() == "[]\n"
    assert eventually(lambda: name in running(server))
    after = server.run(f"docker inspect -f '{{{{.State.StartedAt}}}}' {name}").stdout
    assert after != before


def test_requests_wait_for_an_app_that_restarts(server: Machine) -> None:
    server.run(f"systemctl stop {APP}")
    assert running(server) == set()
    server.run(f"systemctl start --no-block {APP}")
    assert ask(server, "/healthz")["ok"]


def test_dockerd_may_die(server: Machine) -> None:
    before = server.run("docker ps --no-trunc -q").stdout
    server.run("kill -9 $(pidof dockerd)")
    assert ask(server, "/healthz")["ok"]
    assert eventually(lambda: server.run("docker ps", check=False).code == 0)
    assert server.run("docker ps --no-trunc -q").stdout == before
    server.run("docker kill guestbook-2")
    assert eventually(lambda: "guestbook-2" in running(server))


def test_an_app_has_no_rights(server: Machine) -> None:
    status = server.run("docker exec guestbook-1 cat /proc/self/status").stdout
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["65532"] * 4
    assert {fields[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert server.run("docker exec guestbook-1 touch /app/x", check=False).code != 0


def test_a_container_reaches_the_pooler_and_nothing_else_here(server: Machine) -> None:
    reach = "docker exec guestbook-1 timeout 3 python3 -c 'import socket, sys;"
    reach += " socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)' {} {}"
    gateway = server.run(
        "docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' guestbook_default"
    ).stdout.strip()
    assert server.run(reach.format("10.88.88.1", 6432), check=False).code == 0
    for address, port in (("10.88.88.1", 22), (gateway, 22), (gateway, 5432), (gateway, 2019)):
        assert server.run(reach.format(address, port), check=False).code != 0


def test_a_file_survives_and_keeps_its_owner(server: Machine, tmp_path: Path) -> None:
    content = b"\0\1\2" * 1_000_000
    (tmp_path / "file").write_bytes(content)
    stored = ask(server, "-T", str(tmp_path / "file"), "/files/a.bin")
    assert stored["sha256"] == hashlib.sha256(content).hexdigest()
    piped = ask(server, "-T", "-", "-H", "Expect:", "/files/empty.bin")
    assert piped["size"] == 0
    owner = server.run("stat -c '%u:%g' /data/apps/guestbook/uploads/a.bin").stdout
    assert owner == "65532:65532\n"


def test_a_volume_that_is_a_link_is_refused(server: Machine) -> None:
    """As root on the server that is replaced could send it."""
    folder = "cd /data/apps/guestbook"
    server.run(f"systemctl stop {APP} && {folder} && mv uploads away && ln -s / uploads")
    try:
        refused = server.run("python3 -IB -m bakehouse.apps start guestbook", check=False)
        assert refused.code == 1
        assert "its volume /data/apps/guestbook/uploads leads to / by a link" in refused.stderr
        assert running(server) == set()
    finally:
        server.run(f"{folder} && rm uploads && mv away uploads && systemctl start {APP}")


def test_a_missing_secret_is_named_and_a_delivered_one_is_the_apps_alone(server: Machine) -> None:
    facts = "/etc/bakehouse/server.json"
    changed = json.loads(server.run(f"cat {facts}").stdout)
    changed["apps"][0]["secrets"] = ["greeting"]
    server.run(f"cp {facts} {facts}.old; printf %s {shlex.quote(json.dumps(changed))} >{facts}")
    try:
        refused = server.run("python3 -IB -m bakehouse.apps start guestbook", check=False)
        assert refused.code == 1
        assert "its secret greeting is not there" in refused.stderr
        assert "/run/bakehouse/secrets/greeting" in refused.stderr
        server.run("umask 077; printf hello >/run/bakehouse/secrets/greeting")
        server.run("python3 -IB -m bakehouse.apps start guestbook")
        copy = "/run/bakehouse/apps/guestbook/secrets/greeting"
        assert server.run(f"stat -c '%u %a' {copy}; cat {copy}").stdout == "65532 400\nhello"
    finally:
        server.run(f"mv {facts}.old {facts}")
        server.run(f"rm -f /run/bakehouse/secrets/greeting; systemctl restart {APP}")


def test_what_an_image_keeps_in_a_volume_goes_when_the_app_stops(server: Machine) -> None:
    """Also when its user is a name, so that a container is made to look for it."""
    image = "docker inspect -f '{{.Config.Image}}' guestbook-1"
    known = server.run(image).stdout.strip()
    passwd = server.run("docker exec guestbook-1 cat /etc/passwd").stdout.splitlines()
    name = next(line.partition(":")[0] for line in passwd if ":65532:" in line)
    server.run(f"docker create --name probe {known}")
    server.run(f"docker commit -c 'VOLUME /scratch' -c 'USER {name}' probe probe:1")
    server.run("docker rm --volumes probe; echo kept >/data/apps/guestbook/uploads/kept")
    files = "/etc/bakehouse/server.json /etc/bakehouse/apps/guestbook/compose.yaml"
    server.run(
        f"for file in {files}; do cp -p $file $file.old; sed -i s,{known},probe:1, $file; done"
    )
    volumes = "docker volume ls -q"
    try:
        for _ in range(3):
            server.run(f"systemctl restart {APP}")
            assert server.run(image).stdout == "probe:1\n"
            assert len(server.run(volumes).stdout.split()) == 2, "one for each replica"
        server.run(f"systemctl stop {APP}")
        assert server.run(volumes).stdout == ""
    finally:
        server.run(f"for file in {files}; do mv $file.old $file; done; systemctl restart {APP}")
        server.run("docker rmi probe:1")
    assert server.run("cat /data/apps/guestbook/uploads/kept").stdout == "kept\n"


def test_the_generation_is_told_to_whoever_asks_by_address(server: Machine) -> None:
    assert ask(server, "/.well-known/bakehouse") == {"generation": 0}


def test_no_header_names_the_software(server: Machine) -> None:
    done = server.client(["curl", "-sSI", f"http://{server.address.v4}/"])
    names = {line.partition(":")[0].lower() for line in done.stdout.splitlines()}
    assert "server" not in names
    assert {"x-content-type-options", "referrer-policy", "x-frame-options"} <= names


@pytest.mark.parametrize("how", ["reboot", "power_cut"])
def test_everything_is_back_after(server: Machine, how: str) -> None:
    sign(server, f"before-{how}")
    if how == "reboot":
        server.reboot()
    else:
        server.power_cut()
        server.start()
        server.wait()
    assert eventually(lambda: running(server) == {"guestbook-1", "guestbook-2"}, 60)
    log = server.run("journalctl -b -u bakehouse-images -o cat --no-pager").stdout
    assert "all 1 images are there" in log
    assert sign(server, f"before-{how}")["text"] == "was <here>"
    entries = ask(server, "/entries?limit=100")["entries"]
    assert [entry["id"] for entry in entries].count(f"before-{how}") == 1


def test_a_hanging_client_holds_nobody_up(server: Machine) -> None:
    words = [
        sys.executable,
        "-c",
        "import socket, sys, time\n"
        "held = [socket.create_connection((sys.argv[1], 80)) for _ in range(50)]\n"
        "for s in held: s.sendall(b'PUT /files/slow HTTP/1.1\\r\\nHost: x\\r\\n"
        "Content-Length: 10\\r\\n\\r\\n12345')\n"
        "print('held', flush=True)\n"
        "time.sleep(60)",
        server.address.v4,
    ]
    with subprocess.Popen(server.lab.client(words), stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        assert ask(server, "/healthz")["ok"]
        held.kill()
