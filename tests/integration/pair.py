"""Two servers of one spec, introduced to each other, and clients that remember every answer."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from images.lab import Lab, lab
from images.machine import Description, Machine, booted
from images.run import Process, start
from tests.integration.conftest import Describe

PROGRAM = "python3 -IB -m bakehouse"
PSQL = "/usr/lib/postgresql/17/bin/psql --no-psqlrc -qAtX -v ON_ERROR_STOP=1"
ADMIN = f"{PSQL} -h /run/postgresql -U postgres"

WRITERS = """
import http.client, json, signal, sys, threading, time, uuid
host, threads, kept = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
over, lock = threading.Event(), threading.Lock()
acked, failed, waits, ends = [], [], [], []
signal.signal(signal.SIGTERM, lambda *_: over.set())
def work(number):
    connection = None
    while not over.is_set():
        id = uuid.uuid4().hex
        body = json.dumps({"id": id, "name": "w", "text": id})
        begin = time.monotonic()
        try:
            connection = connection or http.client.HTTPConnection(host, timeout=60)
            connection.request("POST", "/entries", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            good = answer.status == 201
            why = answer.status
            if number >= kept or answer.getheader("Connection") == "close":
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException) as error:
            good, why = False, repr(error)
            connection = None
        end = time.monotonic()
        with lock:
            waits.append((end - begin, begin, end))
            (acked if good else failed).append(id if good else [why, begin])
            if good:
                ends.append(end)
        time.sleep(0.02)
workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
for worker in workers:
    worker.start()
print("started", flush=True)
while not over.wait(0.2):
    pass
for worker in workers:
    worker.join()
ends.sort()
gaps = [later - earlier for earlier, later in zip(ends, ends[1:])]
print(json.dumps({"acked": acked, "failed": failed, "pause": max(gaps),
                  "longest": max(waits)[0], "rate": len(ends) / (ends[-1] - ends[0])}))
"""
"""Each thread writes entries of its own ids, one after another, and remembers what was answered."""


@dataclass(slots=True)
class Pair:
    """Two machines; `blue` serves and `green` will. They change places with each swap."""

    lab: Lab
    blue: Machine
    green: Machine
    epoch: int = 0
    steps: dict[str, list[float]] = field(default_factory=dict)

    def order(self, **more: object) -> str:
        """The order of the present epoch as JSON."""
        return json.dumps(
            {"epoch": self.epoch, "generation": 2, "peer_generation": 1, "seconds": 60, **more}
        )

    def prepare(self) -> dict[str, Any]:
        """A new epoch, for which green becomes a warm copy of blue."""
        self.epoch += 1
        done = self.green.run(f"{PROGRAM}.swap prepare", stdin=self.order(), timeout=300)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def begin(self, **more: object) -> None:
        """Let green's unit take over, as the operator does."""
        self.blue.run(f"{PROGRAM}.guard expect {self.epoch}")
        self.green.run(f"{PROGRAM}.swap start", stdin=self.order(**more))

    def watch(self) -> int:
        """Until it is over: the exit code of `swap watch`."""
        return self.green.run(f"{PROGRAM}.swap watch", check=False, timeout=180).code

    def status(self) -> dict[str, Any]:
        """What green says of the swap."""
        return dict(json.loads(self.green.run(f"{PROGRAM}.swap status").stdout))

    def swap(self, **more: object) -> dict[str, Any]:
        """A whole one; the machines change places when it succeeded."""
        self.begin(**more)
        self.watch()
        found = self.status()
        for step in found["steps"]:
            self.steps.setdefault(step["step"], []).append(step["seconds"])
        if found["state"] == "swapped":
            self.change_places()
        return found

    def change_places(self) -> None:
        """Green is the one that serves."""
        self.blue, self.green = self.green, self.blue

    def guard(self, machine: Machine) -> str:
        """The recorded state of one of them."""
        return str(json.loads(machine.run(f"{PROGRAM}.guard status").stdout)["state"])

    def writable(self) -> list[str]:
        """The machines whose Postgres can be written."""
        found = []
        for machine in (self.blue, self.green):
            done = machine.run(f"{ADMIN} -c 'SELECT pg_is_in_recovery()'", check=False)
            if done.stdout == "f\n":
                found.append(machine.name)
        return found

    def table(self) -> list[str]:
        """The texts of all entries of the writers in the database that serves."""
        query = "SELECT text FROM entries WHERE name = 'w'"
        return self.blue.run(f"{ADMIN} guestbook", stdin=query).stdout.split()


def introduce(one: Machine, other: Machine) -> None:
    """Each knows the other's address and keys, and lets it in."""
    cards = []
    for machine in (one, other):
        key = json.loads(machine.run(f"{PROGRAM}.peer key").stdout)
        cards.append(
            {**key, "name": machine.what.hostname, "address": machine.address.v4, "port": 22}
        )
    for machine, card in zip((other, one), cards, strict=True):
        machine.run(f"{PROGRAM}.peer meet", stdin=json.dumps(card))


@contextmanager
def pair(hobby: Describe) -> Iterator[Pair]:
    """A first primary that serves, and a standby that knows it and has nothing yet."""

    def description(number: int) -> Description:
        what = hobby("primary" if number == 1 else "standby", number == 1)
        return replace(what, number=number, hostname=f"server{number}")

    with ExitStack() as stack:
        place = stack.enter_context(lab())
        blue = stack.enter_context(booted(place, description(1), wait=False))
        green = stack.enter_context(booted(place, description(2), wait=False))
        for machine in (blue, green):
            machine.wait()
        blue.run("systemctl start bakehouse-app@guestbook", timeout=200)
        introduce(blue, green)
        yield Pair(place, blue, green)


@contextmanager
def writers(place: Lab, host: str, folder: Path, threads: int = 10) -> Iterator[Process]:
    """Clients that write to this host until the end; `answers` then tells."""
    script = folder / "writers.py"
    script.write_text(WRITERS, encoding="utf-8")
    output = folder / "answers"
    output.unlink(missing_ok=True)
    words = [sys.executable, str(script), host, str(threads), str(threads // 2)]
    process = start(place.client(words), output=output)
    try:
        while not output.exists() or "started" not in output.read_text():
            time.sleep(0.05)
        time.sleep(1)
        yield process
    finally:
        process.stop(patience=90)


def answers(folder: Path) -> dict[str, Any]:
    """What the writers remember."""
    return dict(json.loads((folder / "answers").read_text().splitlines()[-1]))
