"""Servers that keep nothing, and servers whose data is on a volume: the whole life of each."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest

from images import store
from images.home import Home
from images.promote.job import ACTIVE
from images.providers.base import IMAGE, ROLE, SPEC, Server, Volume
from images.providers.local_state import cloud_of
from images.run import Process, start
from tests.emulators.hetzner import Hetzner
from tests.integration.clouds import emulated
from tests.integration.deployment import NAME, ROOT, Deployment, add, bake, begun, kill, served
from tests.integration.rented import Rented
from tests.integration.scene import inside
from tests.integration.witness import await_answer
from tests.load import ledger

pytestmark = [pytest.mark.root, pytest.mark.full]

STATELESS = """
name: beat
users: {deploy: {sudo: true}}
apps:
  beat:
    kind: worker
    build: {packages: [python3], folder: guestbook}
    command: [python3, -c, "import time\\nwhile True: time.sleep(1)"]
    memory: 64m
caddy:
  sites:
    ":80": {static: site}
deploy: {confirm: 2, drain: 4}
"""
VOLUME = """
data: {strategy: volume}
deploy: {WHERE confirm: 5, drain: 2}
secrets:
  sources:
    borg_passphrase: {command: [echo, of no use elsewhere]}
"""
HETZNER = "provider: hetzner, locations: [fsn1], server_types: [cx23],"
RATE = 20
HEALTH = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/healthz || true"
EVERY = 0.02
"""Seconds between two looks at who has the volume mounted."""


@contextmanager
def two_generations(folder: Path, name: str, text: str = "") -> Iterator[Deployment]:
    """One image as two generations: what a swap does is the same for an image of other content."""
    place = begun(folder, name)
    bake(place, text or place.spec.read_text(encoding="utf-8") + VOLUME.replace("WHERE ", ""))
    first = store.look_up(place.home, place.images[-1])
    other = replace(first, id=f"{name}-{os.urandom(6).hex()}")
    twin = place.home.images / other.id
    shutil.copytree(place.home.images / first.id, twin, copy_function=os.link)
    try:
        (twin / store.RECORD).unlink()
        (twin / store.RECORD).write_text(json.dumps(asdict(other)), encoding="utf-8")
        add(place, other.id)
        yield place
    finally:
        shutil.rmtree(twin)


@pytest.fixture(scope="module")
def stateless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("none")
    with two_generations(folder, "beat", STATELESS) as place, served(place):
        yield place


@pytest.fixture(scope="module")
def roving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with two_generations(tmp_path_factory.mktemp("volume"), NAME) as place, served(place):
        yield place


@dataclass(slots=True)
class Mounts:
    """Somebody apart who looks on: `doubles` has each time that two servers had /data mounted."""

    place: Deployment
    doubles: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def look(self, servers: list[Server]) -> None:
        """One round. Whoever had it first must still have it once another one does."""
        for holder in [one for one in servers if self.mounted(one)]:
            self.seen.add(holder.name)
            others = [one for one in servers if one.id != holder.id and self.mounted(one)]
            if others and self.mounted(holder):
                self.doubles.append(f"{holder.name} and {others[0].name}")

    def mounted(self, server: Server) -> bool:
        with suppress(OSError):
            if there := inside(self.place, server):
                lines = Path(f"/proc/{there.pid}/mounts").read_text().splitlines()
                return any(line.split()[1] == "/data" for line in lines)
        return False

    def watch(self, over: threading.Event) -> None:
        servers, looked = self.place.servers(), time.monotonic()
        while not over.wait(EVERY):
            if time.monotonic() > looked + 0.5:
                servers, looked = self.place.servers(), time.monotonic()
            self.look(servers)


@contextmanager
def unharmed(place: Deployment) -> Iterator[Path]:
    """Users write all the while; in the end each acknowledged write is there once, and the volume
    was never mounted by two servers."""
    mounts, over = Mounts(place), threading.Event()
    thread = threading.Thread(target=mounts.watch, args=(over,), daemon=True)
    thread.start()
    try:
        with place.users(RATE, slow=False) as books:
            yield books
    finally:
        over.set()
        thread.join()
    assert mounts.seen and not mounts.doubles
    assert len(ledger.read_ledger(books)) > RATE
    assert place.difference(books) == ledger.Difference((), (), ())
    assert volume(place).server == place.active().id
    others = [one for one in place.servers() if one.id != place.active().id]
    assert not any(mounts.mounted(one) for one in others)


def volume(place: Deployment) -> Volume:
    """The only one that there is."""
    (found,) = place.cloud.volumes(place.name)
    return found


def kill_between(place: Deployment, process: Process) -> None:
    """As `kill -9`, once no server has the volume: nobody can attach it while we hold the cloud's
    lock."""
    cloud = cloud_of(place.home)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        with cloud.registry():
            if volume(place).server == "":
                kill(process)
                return
        time.sleep(0.002)
    raise AssertionError(place.log.read_text())


@contextmanager
def visited(place: Deployment) -> Iterator[Path]:
    """A user who asks again and again, by a new connection each time; the status of each answer."""
    url = f"http://{place.cloud.floating_ip(place.name).v4}/"
    ask = f"while :; do curl -s -m 5 -o /dev/null -w '%{{http_code}}\\n' {url}; sleep 0.05; done"
    answers = place.folder / "answers"
    process = start(place.cloud.outside(["sh", "-c", ask]), output=answers, cwd=ROOT)
    try:
        yield answers
    finally:
        process.stop()


def working(place: Deployment) -> list[str]:
    """The servers on which the worker runs."""
    line = "docker ps --quiet --filter label=bakehouse.app=beat | grep -q . && echo yes || true"
    running = [one for one in place.servers() if one.status == "running"]
    return [one.name for one in running if place.shell(one, line).strip() == "yes"]


def test_a_stateless_server_is_swapped_and_its_worker_runs_once(stateless: Deployment) -> None:
    first = stateless.active().name
    assert working(stateless) == [first]
    assert len(stateless.told("promote", "--dry-run")["steps"]) == 1 + 8
    with visited(stateless) as answers:
        told = stateless.told("promote")
        assert (told["generation"], told["rolled_back"], told["notes"]) == (2, False, [])
        assert working(stateless) == [told["server"]] != [first]
        back = stateless.told("rollback")
        assert (back["generation"], back["server"]) == (1, first)
        assert working(stateless) == [first]
    assert {*answers.read_text().split()} == {"200"}
    states = {one["name"]: one["state"] for one in stateless.told("status")["servers"]}
    assert states == {first: "serving", told["server"]: "fenced"}


def test_a_dead_stateless_server_is_replaced(stateless: Deployment) -> None:
    dead = stateless.active()
    stateless.cloud.power_off(dead.id)
    told = stateless.told("promote", "--blue-lost")
    assert told["server"] != dead.name
    assert working(stateless) == [told["server"]]
    labels = {one.name: one.labels[ROLE] for one in stateless.servers()}
    assert (labels[dead.name], labels[told["server"]]) == ("given-up", "active")


def test_a_volume_moves_with_all_data_and_back(roving: Deployment) -> None:
    first = roving.active()
    with unharmed(roving) as books:
        begin = time.monotonic()
        promoted = roving.told("promote", "--image", roving.other())
        window = ledger.Window("promote", begin, time.monotonic())
        assert promoted["rolled_back"] is False
        back = roving.told("rollback")
        assert back["server"] == first.name
        timers = roving.shell(first, "systemctl is-active bakehouse-backup.timer || true")
        assert timers.strip() == "active"
        notes = [*promoted["notes"], *back["notes"]]
        assert all("the first backup failed" in note for note in notes)  # to a repository of nobody
    gap = ledger.pause(ledger.acknowledgements(ledger.read_requests(books)), window)
    print(f"told {promoted['write_pause_seconds']} s, users saw {gap:.1f} s")
    assert gap >= promoted["write_pause_seconds"] - 1  # never told as shorter than it was


def test_a_power_cut_takes_nothing_from_a_volume(roving: Deployment) -> None:
    server = roving.active()
    with unharmed(roving):
        time.sleep(2)
        roving.cloud.power_off(server.id)
        roving.cloud.power_on(server.id)
        await_answer(roving, server)
        deadline = time.monotonic() + 60
        while "200" not in roving.shell(server, HEALTH) and time.monotonic() < deadline:
            time.sleep(0.5)
        time.sleep(2)


def test_a_killed_operator_leaves_a_volume_that_a_resume_attaches(roving: Deployment) -> None:
    wanted = roving.other()
    with unharmed(roving):
        kill_between(roving, roving.begin("promote", "--image", wanted))
        told = roving.told("promote", "--resume")
        assert told["rolled_back"] is False
    assert roving.active().labels[IMAGE] == wanted


@pytest.mark.parametrize("step", [4, 9, 12])
def test_a_killed_operator_is_gone_on_with(roving: Deployment, step: int) -> None:
    wanted = roving.other()
    with unharmed(roving):
        seen = len(roving.journal())
        process = roving.begin("promote", "--image", wanted)
        roving.wait_for(seen, "begins", step)
        kill(process)
        assert roving.told("promote", "--resume")["rolled_back"] is False
    assert roving.active().labels[IMAGE] == wanted


def test_a_green_that_dies_loses_the_volume_to_blue(roving: Deployment) -> None:
    blue = roving.active()
    with unharmed(roving):
        seen = len(roving.journal())
        process = roving.begin("promote", "--image", roving.other())
        roving.wait_for(seen, "begins", 9)
        green = next(one for one in roving.servers() if one.id != blue.id and one.status != "off")
        roving.cloud.power_off(green.id)
        assert process.wait() == 1
        told = [line for line in roving.log.read_text().splitlines() if line.startswith("{")]
        assert json.loads(told[-1])["rolled_back"] is True
    assert roving.active().id == blue.id


def test_a_green_that_is_not_well_gives_the_volume_back(roving: Deployment) -> None:
    blue = roving.active()
    with unharmed(roving):
        seen = len(roving.journal())
        process = roving.begin("promote", "--image", roving.other())
        roving.wait_for(seen, "begins", 13)
        green = next(one for one in roving.servers() if one.labels[ROLE] == ACTIVE)
        roving.shell(green, "systemctl stop caddy")
        assert process.wait() == 1
    assert roving.active().id == blue.id != green.id


def test_a_dead_server_loses_its_volume_to_a_new_one(roving: Deployment) -> None:
    dead = roving.active()
    with unharmed(roving):
        time.sleep(2)
        roving.cloud.power_off(dead.id)
        told = roving.told("promote", "--blue-lost")
    assert told["server"] != dead.name
    roving.cloud.power_on(dead.id)  # it finds no volume, and the next promote tells it
    await_answer(roving, dead)
    swapped = roving.told("promote", "--image", roving.other())
    assert swapped["rolled_back"] is False
    assert roving.state(dead.name) == "fenced"


def test_a_volume_moves_at_a_cloud(tmp_path: Path) -> None:
    """By the vendor's own client, over an emulator whose servers and volumes are real."""
    text = (ROOT / f"specs/{NAME}.yaml").read_text(encoding="utf-8")
    made = two_generations(tmp_path, NAME, text + VOLUME.replace("WHERE", HETZNER))
    with made as known, emulated("hetzner", Home(tmp_path / "cloud")) as emulator:
        assert isinstance(emulator, Hetzner)
        for image in known.images:
            raw = store.raw_path(known.home, image)
            emulator.add_image(raw, labels={SPEC: NAME, IMAGE: image})
        place = Rented(known.folder, images=known.images, emulator=emulator)
        place.invoke("promote", "--first", "--image", f"{NAME}@1")
        with place.users(RATE, slow=False) as books:
            promoted = place.told("promote")
            back = place.told("rollback")
        assert (promoted["generation"], back["generation"]) == (2, 1)
        assert len(ledger.read_ledger(books)) > RATE
        assert place.difference(books) == ledger.Difference((), (), ())
        print(f"away for {promoted['write_pause_seconds']} s, {back['write_pause_seconds']} s")
