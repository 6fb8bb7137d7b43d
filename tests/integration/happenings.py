"""What can happen in a promote, by the names in the table of faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from images.promote.lease import TERM, newest
from images.providers.base import Server
from images.run import run
from specs.errors import BakehouseError
from tests.integration.deployment import NAME, kill
from tests.integration.faults import Moment
from tests.integration.scene import UNIT, Scene
from tests.integration.witness import await_answer

POSTGRES: Final = "system-postgresql.slice/postgresql@17-main.service"
CUT: Final = 15.0
"""Seconds for which the two servers do not hear each other."""

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


def kill_and_unplug(scene: Scene) -> Iterator[None]:
    """The operator dies, then green: whoever goes on with it must see to green himself."""
    kill(scene.process)
    scene.place.cloud.power_off(scene.green().id)
    yield
    scene.place.told("promote", "--resume")


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
    goal = {"begun": str(last.number), **last.goal}
    labels = {**goal, "owner": "thief", "expires": str(int(time.time()) + 3)}
    cloud.make_note(f"{NAME}-lease-{last.number + 1}", {**labels, "state": "held"})
    yield


def stop_operator(scene: Scene) -> Iterator[None]:
    """It sleeps for longer than its lease, another one goes on, and then it wakes up."""
    yield
    scene.halt()
    try:
        time.sleep(TERM + 1)
        scene.place.invoke("promote", "--resume", "--json", check=False)
    finally:
        scene.go_on()


def freeze_unit(_: Scene) -> Iterator[None]:
    """It stands still until blue's guard has gone back to work, and then wakes up."""
    time.sleep(TERM + 5)
    yield


FILL: Final = """
free=$(( $(stat -f -c '%a * %S' /data) ))
fallocate -l $((free - 4194304)) /var/tmp/ballast
dd if=/dev/zero of=/var/tmp/ballast2 bs=4k 2>/dev/null || true
"""


def disk_full(server: Callable[[Scene], Server]) -> Happening:
    """Until the run has ended; then somebody makes room."""

    def act(scene: Scene) -> Iterator[None]:
        chosen = server(scene)
        scene.place.shell(chosen, FILL)

        def make_room() -> None:
            if chosen.id in {found.id for found in scene.place.servers()}:
                scene.place.cloud.power_on(chosen.id)  # a run that gave it up has switched it off
                await_answer(scene.place, chosen)
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
    "kill operator, green off": kill_and_unplug,
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
