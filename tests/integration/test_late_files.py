"""Uploads that outlast the hold of a swap: whoever is told that a file is kept can ask for it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from images.run import start
from tests.integration.conftest import Describe
from tests.integration.pair import Pair, pair

pytestmark = [pytest.mark.root, pytest.mark.full]

UPLOADS = "/data/apps/guestbook/uploads"
UNIT = "bakehouse-swap.service"
SLOW = """
import http.client, json, pathlib, sys, threading, time
blue, green, folder, count = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4])
PIECE = b"x" * 32768
told = {}
def upload(number):
    name = f"slow-{folder.name}-{number}"
    connection = http.client.HTTPConnection(blue, timeout=120)
    connection.putrequest("PUT", f"/files/{name}")
    connection.putheader("Content-Length", str(2 * len(PIECE)))
    connection.endheaders(PIECE)
    (folder / f"begun-{number}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    time.sleep(0.3 * number)
    connection.send(PIECE)
    begin = time.monotonic()
    answer = connection.getresponse()
    answer.read()
    waited = time.monotonic() - begin
    asked = http.client.HTTPConnection(green, timeout=60)
    asked.request("GET", f"/files/{name}")
    found = asked.getresponse()
    told[name] = [answer.status, found.status, len(found.read()), round(waited, 2)]
threads = [threading.Thread(target=upload, args=(number,)) for number in range(count)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(told))
"""
"""Each sends half, waits for the word, sends the rest, and asks the other server as soon as it is
told that the file is kept."""


@pytest.fixture(scope="module")
def servers(hobby: Describe) -> Iterator[Pair]:
    with pair(hobby) as found:
        yield found


@contextmanager
def uploads(servers: Pair, folder: Path, count: int) -> Iterator[Path]:
    """They are under way to blue; the file `go` in the folder lets them end. Gone in the end."""
    script = folder / "slow.py"
    script.write_text(SLOW, encoding="utf-8")
    addresses = (servers.blue.address.v4, servers.green.address.v4)
    words = [sys.executable, str(script), *addresses, str(folder), str(count)]
    process = start(servers.lab.client(words), output=folder / "told")
    try:
        deadline = time.monotonic() + 30
        while not all((folder / f"begun-{number}").exists() for number in range(count)):
            assert time.monotonic() < deadline, (folder / "told").read_text()
            time.sleep(0.02)
        yield folder / "told"
        process.popen.wait(60)
    finally:
        process.stop()


def check(told: Path, count: int) -> None:
    """All were kept, and found at once; the answers that came late waited for their files."""
    found = json.loads(told.read_text())
    assert len(found) == count, found
    assert all(one[:3] == [201, 200, 65536] for one in found.values()), found
    print(found)


def test_an_upload_that_ends_late_can_be_asked_for_at_once(servers: Pair, tmp_path: Path) -> None:
    servers.prepare()
    with uploads(servers, tmp_path, 5) as told:
        assert servers.swap()["state"] == "swapped"
        (tmp_path / "go").touch()
    check(told, 5)
    ended = "systemctl show --property=ActiveState --value"
    deadline = time.monotonic() + 30
    while servers.blue.run(f"{ended} {UNIT}").stdout.strip() != "inactive":
        assert time.monotonic() < deadline, "late passes do not end"
        time.sleep(0.2)
    assert servers.green.run("nft list tables").stdout.find("bakehouse_late") == -1


def test_late_files_come_in_spite_of_a_kill(servers: Pair, tmp_path: Path) -> None:
    servers.prepare()
    with uploads(servers, tmp_path, 2) as told:
        assert servers.swap()["state"] == "swapped"
        servers.blue.run(f"systemctl kill --signal=KILL {UNIT}")
        (tmp_path / "go").touch()
    check(told, 2)


def test_the_next_swap_ends_late_passes(servers: Pair, tmp_path: Path) -> None:
    """Files that come from the server that serves again are carried the other way by then."""
    servers.prepare()
    with uploads(servers, tmp_path, 1):
        assert servers.swap()["state"] == "swapped"
        assert servers.blue.run(f"systemctl is-active {UNIT}", check=False).stdout == "active\n"
        servers.prepare()
        assert servers.swap()["state"] == "swapped"
        stray = f"{UPLOADS}/stray"
        servers.blue.run(f"echo x >{stray}")
        time.sleep(3)
        assert servers.green.run(f"test -e {stray}", check=False).code == 1
        assert servers.green.run(f"systemctl is-active {UNIT}", check=False).stdout == "inactive\n"
        (tmp_path / "go").touch()
