"""What can go wrong in a promote, and when: the table of faults, as data, and what each one does.

A moment is a line of a journal. Whoever writes it is stopped there, the operator by SIGSTOP and
green's unit by its control group, so that what happens, happens at that step and not near it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal

from images.groups import group_path
from images.promote.lease import TERM, newest
from images.providers.base import IMAGE, Server
from images.providers.local_state import cloud_of
from images.run import Process, run
from images.server.table import TABLE
from specs.errors import BakehouseError
from tests.integration.deployment import NAME, Deployment, kill

JOURNAL: Final = "var/lib/bakehouse/swap.jsonl"
UNIT: Final = "bakehouse-swap.service"
POSTGRES: Final = "system-postgresql.slice/postgresql@17-main.service"
PATIENCE: Final = 180.0
"""Seconds until the moment of a case must have come."""

CUT: Final = 15.0
"""Seconds for which the two servers do not hear each other."""


@dataclass(frozen=True, slots=True)
class Moment:
    """`who` writes a line that says `what` of a step."""

    who: Literal["operator", "unit"]
    what: str
    step: object = None

    def is_in(self, entry: dict[str, Any]) -> bool:
        """Whether it is this line of that one's journal."""
        said = entry.get("event" if self.who == "operator" else "what")
        return (said, entry.get("step")) == (self.what, self.step)


@dataclass(frozen=True, slots=True)
class Case:
    """`what` happens at a moment; `fresh`: to a green that is made for it, where else an old
    standby takes over."""

    what: str
    at: Moment
    fresh: bool = False

    @property
    def name(self) -> str:
        """For the report."""
        step = "" if self.at.step is None else f" {self.at.step}"
        fresh = " fresh" if self.fresh else ""
        return f"{self.what} @ {self.at.what}{step}{fresh}".replace(" ", "-")


def began(number: int) -> Moment:
    """The operator begins a step."""
    return Moment("operator", "begins", number)


def ended(number: int) -> Moment:
    """The operator has seen that a step is done."""
    return Moment("operator", "done", number)


def begin(step: str) -> Moment:
    """Green's unit begins a step."""
    return Moment("unit", "begin", step)


def done(step: str) -> Moment:
    """Green's unit has done a step, or what goes before it (step 2)."""
    return Moment("unit", "done", step)


def boundaries() -> tuple[Moment, ...]:
    """Before and after each of the steps that green's unit does."""
    names = [step.name for step in TABLE if not step.name.startswith("2")]
    found: list[Moment] = []
    for _, group in groupby(names, key=lambda name: name.split()[0]):
        parts = list(group)
        found += [begin(parts[0]), done(parts[-1])]
    return tuple(found)


OPERATOR: Final = (
    Moment("operator", "began"),
    *(ended(number) for number in (0, 1)),
    *(began(2), ended(2), began(3), ended(11)),
    *(at(number) for number in (12, 13, 14) for at in (began, ended)),
)
"""Before and after each step that the operator does: steps 0 and 1 are done by their first probe,
and those between 3 and 11 are `UNIT`'s."""

UNIT_MOMENTS: Final = boundaries()
SYNC, STOPPED, FENCED = done("3 sync"), done("6 stop"), done("8 fence")
CLAIMED, PROMOTED, SERVES = done("9 claim"), done("9 promote"), done("10 serve")
COPYING: Final = done("2 files")

TABLE_OF_FAULTS: Final[dict[str, tuple[Moment, ...]]] = {
    "kill operator": (*OPERATOR, *UNIT_MOMENTS),
    "kill two operators": (SYNC, SERVES, began(12), began(13)),
    "kill unit": UNIT_MOMENTS,
    "green off": (SYNC, STOPPED, FENCED, CLAIMED, PROMOTED, SERVES, began(12), began(13)),
    "green reboots": (SYNC, STOPPED, FENCED, CLAIMED, PROMOTED, SERVES),
    "blue off": (COPYING, SYNC, STOPPED, begin("8 fence"), PROMOTED, SERVES, began(12)),
    "blue reboots": (SYNC, STOPPED, FENCED, PROMOTED, SERVES),
    "cut network": (COPYING, SYNC, STOPPED, begin("8 fence"), PROMOTED, SERVES),
    "kill green's Postgres": (SYNC, STOPPED, FENCED, PROMOTED),
    "kill blue's Postgres": (COPYING, SYNC, done("5 pause")),
    "two at once": (began(2), STOPPED, began(12)),
    "steal the lease": (began(2), STOPPED, began(12), began(13)),
    "stop the operator": (began(2), done("5 pause"), began(12)),
    "freeze unit": (SYNC, begin("8 fence")),
    "green's disk full": (COPYING, SYNC, STOPPED),
    "blue's disk full": (COPYING, SYNC, done("4 hold")),
    "IP call fails": (began(12),),
    "IP call goes on failing": (began(12),),
    "IP call answers late": (began(12),),
    "IP call answers after the lease": (began(12),),
}
"""What happens, and the moments at which it hurts."""

FRESH: Final = (
    Case("kill operator", ended(2), fresh=True),
    Case("kill two operators", began(12), fresh=True),
    Case("steal the lease", STOPPED, fresh=True),
    Case("green off", FENCED, fresh=True),
    Case("green off", SERVES, fresh=True),
    Case("green reboots", SYNC, fresh=True),
    Case("blue off", STOPPED, fresh=True),
    Case("blue reboots", STOPPED, fresh=True),
    Case("cut network", STOPPED, fresh=True),
)
CASES: Final = (
    *(Case(what, at) for what, moments in TABLE_OF_FAULTS.items() for at in moments),
    *FRESH,
)


@dataclass(frozen=True, slots=True)
class Inside:
    """A server of the local cloud seen from the host: its files and its control groups."""

    pid: str
    groups: Path

    @property
    def root(self) -> Path:
        """Its files."""
        return Path(f"/proc/{self.pid}/root")

    def group(self, unit: str) -> Path:
        """The control group of one of its units."""
        return self.groups / "system.slice" / unit


def inside(place: Deployment, server: Server) -> Inside | None:
    """None while it is not up."""
    group = group_path(cloud_of(place.home).group(server.id))
    for scope in sorted(group.glob("boot*/payload/init.scope/cgroup.procs"), reverse=True):
        with suppress(OSError):
            if pids := scope.read_text(encoding="ascii").split():
                return Inside(pids[0], scope.parents[1])
    return None


@dataclass(slots=True)
class Tail:
    """What is added to a journal."""

    path: Path
    read: int = 0

    def new(self) -> list[dict[str, Any]]:
        """The whole lines since the last look."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.read)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


@dataclass(slots=True)
class Scene:
    """A promote that runs. `after` is done once it has ended."""

    place: Deployment
    process: Process
    blue: Server
    wanted: str
    operator: Tail
    before: dict[str, int]
    """How long each server's journal was when it began."""
    after: list[Callable[[], object]] = field(default_factory=list)

    def green(self) -> Server:
        """The server that is to take over: the newest of the wanted image."""
        fit = [
            server
            for server in self.place.servers()
            if server.labels[IMAGE] == self.wanted and server.id != self.blue.id
        ]
        assert fit, "no server of the wanted image"
        return max(fit, key=lambda server: int(server.id[1:]))

    def within(self, server: Server) -> Inside:
        """A server that is up, from the host."""
        found = inside(self.place, server)
        assert found, f"{server.name} is not up"
        return found

    @contextmanager
    def at(self, moment: Moment) -> Iterator[None]:
        """Wait for the moment; who came to it stands still meanwhile."""
        held = self._operator(moment) if moment.who == "operator" else self._unit(moment)
        with held:
            yield

    @contextmanager
    def _operator(self, moment: Moment) -> Iterator[None]:
        self.wait(moment, self.operator.new, 0.005, self.process)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGSTOP)
        yield
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)

    @contextmanager
    def _unit(self, moment: Moment) -> Iterator[None]:
        tails: dict[str, Tail] = {}
        looked = 0.0

        def lines() -> list[dict[str, Any]]:
            nonlocal looked
            if time.monotonic() > looked + 0.5:
                looked = time.monotonic()
                for server in self.place.servers():
                    if server.id not in tails and (found := inside(self.place, server)):
                        seen = self.before.get(server.id, 0)
                        tails[server.id] = Tail(found.root / JOURNAL, seen)
            return [entry for tail in tails.values() for entry in tail.new()]

        self.wait(moment, lines, 0.001, self.process)
        frozen = self.within(self.green()).group(UNIT) / "cgroup.freeze"
        with suppress(OSError):  # what goes before step 3 is done by the operator's call
            frozen.write_text("1", encoding="ascii")
        yield
        with suppress(OSError):
            frozen.write_text("0", encoding="ascii")

    def wait(
        self,
        moment: Moment,
        look: Callable[[], list[dict[str, Any]]],
        pause: float,
        process: Process,
    ) -> None:
        """Until its line is there, which a process leads to."""
        deadline = time.monotonic() + PATIENCE
        while not any(moment.is_in(entry) for entry in look()):
            alive = process.alive()
            assert alive or any(moment.is_in(entry) for entry in look()), "it ended before that"
            assert time.monotonic() < deadline, f"{moment} did not come"
            time.sleep(pause)


def begun(place: Deployment, fresh: bool) -> Scene:
    """A promote to the image that does not serve."""
    wanted, blue = place.other(), place.active()
    for server in place.servers() if fresh else ():
        if server.id != blue.id:
            place.cloud.delete_server(server.id)
    before = {}
    for server in place.servers():
        if found := inside(place, server):
            with suppress(FileNotFoundError):
                before[server.id] = (found.root / JOURNAL).stat().st_size
    path = place.home.root / "history" / f"{NAME}.jsonl"
    operator = Tail(path, path.stat().st_size)
    environment = {"PATH": f"{breakable_ip(place)}:{os.environ['PATH']}"}
    process = place.begin("promote", "--image", wanted, env=environment)
    return Scene(place, process, blue, wanted, operator, before)


IP: Final = """#!/bin/sh
# ip(8), but the file {fault} says how a call that moves routes goes: `fail TIMES`, `late SECONDS`.
case " $* " in
*" -batch "*)
    what= left=
    [ ! -s {fault} ] || read -r what left <{fault}
    case $what in
    fail) : >{fault}; [ "$left" -le 1 ] || echo "fail $((left - 1))" >{fault}
        cat >/dev/null; echo "the cloud does not answer" >&2; exit 1 ;;
    late) : >{fault}; sleep "$left" ;;
    esac ;;
esac
exec {ip} "$@"
"""


def breakable_ip(place: Deployment) -> Path:
    """A folder for PATH with an ip(8) that fails on demand: the local cloud moves its IP by it."""
    folder = place.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "ip").write_text(IP.format(fault=place.folder / "ip-fault", ip=shutil.which("ip")))
    (folder / "ip").chmod(0o755)
    return folder


RESUMED: Final = Moment("operator", "resumed")

Happening = Callable[[Scene], Iterator[None]]
"""Up to its yield while who came to the moment stands still, then when it goes on."""


def kill_operator(scene: Scene) -> Iterator[None]:
    kill(scene.process)
    yield


def kill_two(scene: Scene) -> Iterator[None]:
    """The one that goes on with it dies at once, too."""
    kill(scene.process)
    yield
    second = scene.place.begin("promote", "--resume")
    scene.wait(RESUMED, scene.operator.new, 0.005, second)
    kill(second)


def kill_group(server: Callable[[Scene], Server], unit: str) -> Happening:
    def act(scene: Scene) -> Iterator[None]:
        group = scene.within(server(scene)).group(unit)
        (group / "cgroup.kill").write_text("1", encoding="ascii")
        yield

    return act


def blue(scene: Scene) -> Server:
    return scene.blue


def green(scene: Scene) -> Server:
    return scene.green()


def off(server: Callable[[Scene], Server], again: float | None = None) -> Happening:
    """Pull the plug, and put it back after so many seconds."""

    def act(scene: Scene) -> Iterator[None]:
        chosen = server(scene)
        scene.place.cloud.power_off(chosen.id)
        yield
        if again is not None:
            time.sleep(again)
            with suppress(BakehouseError):  # a run may have given it up and deleted it
                scene.place.cloud.power_on(chosen.id)

    return act


def cut_network(scene: Scene) -> Iterator[None]:
    """The two do not hear each other for a while; everybody else hears both."""
    words = ["nsenter", "-t", scene.within(scene.green()).pid, "-n", "ip", "route"]
    route = ["blackhole", f"{scene.blue.private}/32"]
    run([*words, "add", *route])
    yield
    time.sleep(CUT)
    run([*words, "delete", *route], check=False)  # a run may have given green up


def two_at_once(scene: Scene) -> Iterator[None]:
    told = scene.place.told("promote", "--image", scene.wanted, code=1)
    assert "another run holds the lease" in told["error"], told
    yield


def steal(scene: Scene) -> Iterator[None]:
    """Somebody's lease with the next number, which runs out at once."""
    cloud = scene.place.cloud
    last = newest(cloud, NAME)
    assert last is not None
    labels = {**last.goal, "owner": "thief", "expires": str(int(time.time()) + 3)}
    cloud.make_note(f"{NAME}-lease-{last.number + 1}", {**labels, "state": "held"})
    yield


def stop_operator(scene: Scene) -> Iterator[None]:
    """It sleeps for longer than its lease, another one goes on, and then it wakes up."""
    os.killpg(scene.process.pid, signal.SIGSTOP)
    yield
    os.killpg(scene.process.pid, signal.SIGSTOP)
    try:
        time.sleep(TERM + 1)
        scene.place.invoke("promote", "--resume", "--json", check=False)
    finally:
        os.killpg(scene.process.pid, signal.SIGCONT)


def freeze_unit(_: Scene) -> Iterator[None]:
    """It stands still until blue's guard has gone back to work, and then wakes up."""
    time.sleep(TERM + 5)
    yield


FILL: Final = """
free=$(( $(stat -f -c '%a * %S' /data) ))
runuser -u nobody -- fallocate -l $((free - 4194304)) /var/tmp/ballast
runuser -u nobody -- dd if=/dev/zero of=/var/tmp/ballast2 bs=4k 2>/dev/null || true
"""
"""All but what the file system keeps for root."""


def disk_full(server: Callable[[Scene], Server]) -> Happening:
    """Until the run has ended; then somebody makes room."""

    def act(scene: Scene) -> Iterator[None]:
        chosen = server(scene)
        scene.place.shell(chosen, FILL)

        def make_room() -> None:
            if chosen.id in {found.id for found in scene.place.servers()}:
                scene.place.shell(chosen, "rm -f /var/tmp/ballast /var/tmp/ballast2")

        scene.after.append(make_room)
        yield

    return act


def ip_fault(words: str) -> Happening:
    def act(scene: Scene) -> Iterator[None]:
        fault = scene.place.folder / "ip-fault"
        fault.write_text(f"{words}\n")
        scene.after.append(lambda: fault.write_text(""))
        yield

    return act


HAPPENINGS: Final[dict[str, Happening]] = {
    "kill operator": kill_operator,
    "kill two operators": kill_two,
    "kill unit": kill_group(green, UNIT),
    "green off": off(green),
    "green reboots": off(green, 1),
    "blue off": off(blue),
    "blue reboots": off(blue, 1),
    "cut network": cut_network,
    "kill green's Postgres": kill_group(green, POSTGRES),
    "kill blue's Postgres": kill_group(blue, POSTGRES),
    "two at once": two_at_once,
    "steal the lease": steal,
    "stop the operator": stop_operator,
    "freeze unit": freeze_unit,
    "green's disk full": disk_full(green),
    "blue's disk full": disk_full(blue),
    "IP call fails": ip_fault("fail 1"),
    "IP call goes on failing": ip_fault("fail 1000"),
    "IP call answers late": ip_fault("late 20"),
    "IP call answers after the lease": ip_fault(f"late {TERM + 15:.0f}"),
}
