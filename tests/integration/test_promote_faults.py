"""What goes wrong in the middle of a promote, as data; after each case everything is still there.

    pytest --full tests/integration/test_promote_faults.py
    BAKEHOUSE_FAULT_SEED=7 pytest tests/integration/test_promote_faults.py -k random

Each case promotes the image that does not serve, lets something happen at one line of the journal,
and then only runs `promote --resume`, as the documentation says.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import pytest

from images.promote.job import GIVEN_UP
from images.promote.lease import TERM, newest
from images.providers.base import IMAGE, ROLE, Server
from images.run import Process
from specs.errors import BakehouseError
from tests.integration.deployment import NAME, Deployment, deployed, kill

pytestmark = [pytest.mark.root, pytest.mark.full]

RATE: Final = 10.0
"""Requests a second: what is acknowledged is what matters here, not how fast."""

ATTEMPTS: Final = 4
"""How often a person may have to say `--resume`."""

RECOVERY = "psql -XAtc 'SELECT pg_is_in_recovery()' -U postgres -h /run/postgresql postgres"


@dataclass(frozen=True, slots=True)
class Case:
    """`what` happens once the journal has this line: an event and its step."""

    what: str
    event: str
    step: object

    @property
    def name(self) -> str:
        return f"{self.what} @ {self.event} {self.step}".replace(" ", "-")


OPERATOR: Final = [("begins", step) for step in (2, 3, 12, 13, 14)] + [
    ("done", step) for step in (0, 1, 2, 11, 12, 13)
]
SWAP: Final = [
    ("green", step)
    for step in (
        "3 arm",
        "3 sync",
        "4 workers",
        "4 hold",
        "5 pause",
        "6 stop",
        "7 replayed",
        "7 files",
        "8 fence",
        "9 claim",
        "9 promote",
        "10 point",
        "10 resume",
        "10 serve",
        "11 follow",
    )
]
HURTS: Final = [("green", s) for s in ("3 sync", "6 stop", "8 fence", "9 promote", "10 serve")]
CASES: Final = [
    *(Case("kill operator", *at) for at in [*OPERATOR, *SWAP]),
    *(Case("kill unit", *at) for at in SWAP),
    *(
        Case(what, *at)
        for what in ("green off", "green reboots", "blue off", "blue reboots", "cut network")
        for at in HURTS
    ),
    *(
        Case(what, *at)
        for what in ("kill green's Postgres", "kill blue's Postgres")
        for at in HURTS[:4]
    ),
    *(Case("two at once", *at) for at in [("begins", 2), ("green", "6 stop"), ("begins", 12)]),
    *(Case("steal the lease", *at) for at in [("begins", 2), ("green", "6 stop"), ("begins", 12)]),
    *(Case("stop the operator", *at) for at in [("begins", 2), ("green", "5 pause")]),
]
SAMPLE: Final = [Case("kill unit", "green", "6 stop"), Case("green off", "green", "8 fence")]


@dataclass(frozen=True, slots=True)
class Scene:
    """A promote that runs: its process, and the two servers."""

    place: Deployment
    process: Process
    blue: Server
    wanted: str

    def green(self) -> Server:
        """The server that is to take over."""
        return next(
            server
            for server in self.place.servers()
            if server.labels[IMAGE] == self.wanted and server.id != self.blue.id
        )


def kill_operator(scene: Scene) -> None:
    kill(scene.process)


def kill_unit(scene: Scene) -> None:
    scene.place.shell(scene.green(), "systemctl kill --signal=KILL bakehouse-swap || true")


def off(server: Callable[[Scene], Server], again: float | None) -> Callable[[Scene], None]:
    """Pull the plug, and put it back after so many seconds."""

    def act(scene: Scene) -> None:
        chosen = server(scene)
        scene.place.cloud.power_off(chosen.id)
        if again is not None:
            time.sleep(again)
            with suppress(BakehouseError):  # a run may have given it up and deleted it
                scene.place.cloud.power_on(chosen.id)

    return act


def blue(scene: Scene) -> Server:
    return scene.blue


def green(scene: Scene) -> Server:
    return scene.green()


def kill_postgres(server: Callable[[Scene], Server]) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        line = "systemctl kill --signal=KILL 'postgresql@*' || true"
        scene.place.shell(server(scene), line)

    return act


def cut_network(scene: Scene) -> None:
    """The two do not hear each other for a while; everybody else hears both."""
    peer = scene.blue.private
    server = scene.green()
    scene.place.shell(server, f"ip route add blackhole {peer}/32")
    time.sleep(15)
    with suppress(BakehouseError, StopIteration):
        scene.place.shell(server, f"ip route delete blackhole {peer}/32")


def two_at_once(scene: Scene) -> None:
    told = scene.place.told("promote", "--image", scene.wanted, code=1)
    assert "another run holds the lease" in told["error"]


def steal(scene: Scene) -> None:
    """Somebody's lease with the next number, which runs out at once."""
    cloud = scene.place.cloud
    last = newest(cloud, NAME)
    assert last is not None
    labels = {**last.goal, "owner": "thief", "expires": str(int(time.time()) + 3)}
    cloud.make_note(f"{NAME}-lease-{last.number + 1}", {**labels, "state": "held"})


def stop_operator(scene: Scene) -> None:
    """It sleeps for longer than its lease, another one goes on, and then it wakes up."""
    os.killpg(scene.process.pid, signal.SIGSTOP)
    try:
        time.sleep(TERM + 1)
        scene.place.invoke("promote", "--resume", "--json", check=False)
    finally:
        os.killpg(scene.process.pid, signal.SIGCONT)


HAPPENINGS: Final[dict[str, Callable[[Scene], None]]] = {
    "kill operator": kill_operator,
    "kill unit": kill_unit,
    "green off": off(green, None),
    "green reboots": off(green, 1),
    "blue off": off(blue, None),
    "blue reboots": off(blue, 1),
    "cut network": cut_network,
    "kill green's Postgres": kill_postgres(green),
    "kill blue's Postgres": kill_postgres(blue),
    "two at once": two_at_once,
    "steal the lease": steal,
    "stop the operator": stop_operator,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("faults")) as found:
        found.told("promote", "--image", found.other())
        yield found


@contextmanager
def observed(place: Deployment) -> Iterator[list[str]]:
    """Each time that two servers accepted writes at once, which must be never."""
    seen: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            writers = []
            for server in place.servers():
                with suppress(BakehouseError):
                    if server.status == "running" and place.shell(server, RECOVERY).strip() == "f":
                        writers.append(server.name)
            if len(writers) > 1:
                seen.append(f"{time.time()}: {' and '.join(writers)}")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def play(place: Deployment, case: Case) -> None:
    """One case from a pair at rest to a pair at rest."""
    scene_blue, wanted, seen = place.active(), place.other(), len(place.journal())
    with place.users(RATE) as books, observed(place) as doubles:
        process = place.begin("promote", "--image", wanted)
        scene = Scene(place, process, scene_blue, wanted)
        place.wait_for(seen, case.event, case.step)
        HAPPENINGS[case.what](scene)
        code = process.popen.wait(300)
        converge(place)
        time.sleep(1)
    assert doubles == []
    difference = place.difference(books)
    assert not (difference.lost or difference.altered), difference
    serving = place.active().labels[IMAGE]
    assert (code == 0) <= (serving == wanted), f"exit code {code}, but {serving} serves"
    next_one = place.told("promote", "--image", place.other())
    assert next_one["rolled_back"] is False


def converge(place: Deployment) -> None:
    """What a person does: servers back on, and `--resume` until nothing is left to do."""
    for _ in range(ATTEMPTS):
        for server in place.servers():
            if server.status == "off" and server.labels[ROLE] != GIVEN_UP:
                place.cloud.power_on(server.id)
        place.invoke("promote", "--resume", "--json", check=False)
        if place.told("status")["lease"]["held"] is False:
            return
    raise AssertionError(place.invoke("status", check=False).stdout)


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_a_sample(place: Deployment, case: Case) -> None:
    play(place, case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_fault(place: Deployment, case: Case) -> None:
    play(place, case)


def test_a_random_fault(place: Deployment) -> None:
    seed = int(os.environ.get("BAKEHOUSE_FAULT_SEED") or time.time_ns() % 1_000_000)
    print(f"BAKEHOUSE_FAULT_SEED={seed}")
    chooser = random.Random(seed)
    at = chooser.choice([*OPERATOR, *SWAP])
    play(place, Case(chooser.choice(sorted(HAPPENINGS)), *at))


def test_the_table_is_large_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80
    assert {case.what for case in CASES} == set(HAPPENINGS)
