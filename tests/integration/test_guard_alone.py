"""The guard by itself: real processes on a folder, killed, racing, with damaged files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
ROLE = "var/lib/bakehouse/role.json"

KILLED_AT = """
import json, os, signal, sys
from images.server import guard

CALLS = ("open", "fsync", "rename", "fchmod", "close", "unlink")

def dying(real, left):
    def call(*words, **more):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **more)
    return call

def run(number):
    pid = os.fork()
    if pid == 0:
        left = [number]
        for name in CALLS:
            setattr(os, name, dying(getattr(os, name), left))
        guard.main()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

os.dup2(2, 1)
seen = []
for number in range(200):
    code = run(number)
    role = json.loads(guard.state.ROLE.read_text())
    seen.append([code, role["epoch"], role["state"]])
    if code != -signal.SIGKILL:
        break
os.write(int(os.environ["SEEN"]), json.dumps(seen).encode())
"""
"""The guard killed before its n-th call to the kernel about files, for each n until one run is
through; what it left each time goes to the file descriptor SEEN."""


class Place:
    """A server's files in a folder, and the guard run on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        facts: dict[str, Any] = {
            "name": "x",
            "postgres": None,
            "apps": [],
            "borg": None,
            "data": {"paths": []},
        }
        boot = {"role": "primary", "generation": 1, "image": "x", "hostname": "x", "may_init": True}
        self.write("etc/bakehouse/server.json", json.dumps(facts))
        self.write("etc/bakehouse/boot.json", json.dumps(boot))
        self.write("proc/sys/kernel/random/boot_id", "first\n")
        (root / "var/lib/bakehouse").mkdir(parents=True)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def reboot(self, name: str) -> None:
        self.write("proc/sys/kernel/random/boot_id", f"{name}\n")

    def start(self, *words: str) -> Any:
        return subprocess.Popen(
            [sys.executable, "-m", "images.server.guard", *words],
            cwd=PROJECT,
            env={**os.environ, "BAKEHOUSE_ROOT": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def guard(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=30)
        return process.returncode, out + err

    def killed_anywhere(self, *words: str) -> list[list[Any]]:
        """Exit code, epoch and state after each run that was killed, and after the last one."""
        reader, writer = os.pipe()
        process = subprocess.run(
            [sys.executable, "-c", KILLED_AT, *words],
            cwd=PROJECT,
            env={**os.environ, "BAKEHOUSE_ROOT": str(self.root), "SEEN": str(writer)},
            pass_fds=[writer],
            check=False,
        )
        os.close(writer)
        with os.fdopen(reader) as pipe:
            seen = pipe.read()
        assert process.returncode == 0
        return list(json.loads(seen))

    def role(self) -> dict[str, Any]:
        return dict(json.loads((self.root / ROLE).read_text()))

    def state(self) -> tuple[int, str]:
        role = self.role()
        return role["epoch"], role["state"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_swap_and_its_gates(place: Place) -> None:
    kinds = ("postgres", "pooler", "worker", "cron")

    def may() -> list[str]:
        return [kind for kind in kinds if place.guard("may-start", kind)[0] == 0]

    assert may() == list(kinds)
    assert place.guard("arm", "5", "60")[0] == 0
    assert may() == ["pooler"]
    assert place.guard("fence", "5")[0] == 0
    assert may() == []
    assert place.guard("restore", "5") == (
        1,
        "<3>restore 5: refused, this server is fenced in epoch 5\n",
    )
    assert place.guard("follow", "5")[0] == 0
    assert may() == ["pooler"]
    code, said = place.guard("arm", "4", "60")
    assert (code, "epoch 4 is over" in said) == (1, True)
    assert place.state() == (5, "following")


def test_a_deadline_restores_once_and_never_after_a_reboot(place: Place) -> None:
    assert place.guard("arm", "1", "0.2")[0] == 0
    watch = place.start("watch")
    try:
        wait_for(lambda: place.state() == (1, "restored") and not place.role()["pending"])
        assert place.guard("fence", "1")[0] == 1
        assert place.guard("arm", "2", "0.2")[0] == 0
    finally:
        watch.kill()
        watch.communicate()
    place.reboot("second")
    watch = place.start("watch")
    try:
        time.sleep(1.5)  # three looks, long past the deadline
        assert place.state()[1] in ("armed", "restored")
        assert place.state() == (2, "armed")
    finally:
        watch.kill()
        watch.communicate()
    assert place.guard("may-start", "postgres")[0] == 1
    assert place.guard("restore", "2")[0] == 1
    assert place.guard("restore", "2", "--peer-off")[0] == 0
    assert place.state() == (2, "serving")


def wait_for(so: Any) -> None:
    for _ in range(200):
        if so():
            return
        time.sleep(0.05)
    raise AssertionError("not within 10 s")


COMMANDS = [
    (("arm", "7", "60"), (7, "armed")),
    (("fence", "7"), (7, "fenced")),
    (("follow", "7"), (7, "following")),
    (("standby", "8"), (8, "standby")),
    (("claim", "8", "--peer-off"), (8, "claimed")),
    (("serve", "8"), (8, "serving")),
    (("arm", "9", "60"), (9, "armed")),
    (("restore", "9"), (9, "restored")),
    (("arm", "10", "60"), (10, "armed")),
    (("fence", "10"), (10, "fenced")),
    (("restore", "10", "--peer-off"), (10, "serving")),
    (("retire", "11"), (11, "fenced")),
    (("standby", "12"), (12, "standby")),
    (("give-up", "12"), (12, "gave-up")),
]


def test_killed_anywhere_the_record_is_the_old_or_the_new(place: Place) -> None:
    """Each command is killed before each of its calls in turn, until one run gets through."""
    assert place.guard("arm", "6", "60")[0] == 0
    assert place.guard("restore", "6")[0] == 0
    for words, wanted in COMMANDS:
        before = place.state()
        *killed, last = place.killed_anywhere(*words)
        assert len(killed) > 2, words
        assert {code for code, *_ in killed} == {-9}
        assert {(epoch, state) for _, epoch, state in killed} == {before, wanted}, words
        assert last == [0, *wanted]


def test_of_two_that_race_one_wins(place: Place) -> None:
    for epoch in range(1, 9):
        number = str(epoch)
        assert place.guard("arm", number, "60")[0] == 0
        racers = [place.start(verb, number) for verb in ("fence", "restore") * 3]
        codes = [(racer.communicate(), racer.returncode)[1] for racer in racers]
        ended = place.state()
        assert ended in ((epoch, "fenced"), (epoch, "restored"))
        winners = codes[0::2] if ended[1] == "fenced" else codes[1::2]
        losers = codes[1::2] if ended[1] == "fenced" else codes[0::2]
        assert (winners, losers) == ([0, 0, 0], [1, 1, 1])
        if ended[1] == "fenced":
            assert place.guard("restore", number, "--peer-off")[0] == 0


def test_a_damaged_record_starts_nothing(place: Place) -> None:
    assert place.guard("arm", "3", "60")[0] == 0
    whole = (place.root / ROLE).read_text()
    damaged = ["", "{}", "[]", "null", whole[:-9], whole.replace("armed", "serbing")]
    damaged += [whole.replace('"epoch": 3', '"epoch": "3"'), whole.replace('"boot"', '"root"')]
    for text in damaged:
        place.write(ROLE, text)
        for kind in ("postgres", "pooler", "worker", "cron"):
            assert place.guard("may-start", kind)[0] == 255, text
        for words in (("restore", "3"), ("fence", "3"), ("arm", "4", "9"), ("status",)):
            assert place.guard(*words)[0] == 1, (text, words)
        assert (place.root / ROLE).read_text() == text


def test_a_link_or_a_folder_in_the_place_of_the_new_file_stops_nobody(place: Place) -> None:
    (place.root / "var/lib/bakehouse/.role.json.new").symlink_to("/nowhere/at/all")
    assert place.guard("arm", "1", "60")[0] == 0
    assert place.state() == (1, "armed")
