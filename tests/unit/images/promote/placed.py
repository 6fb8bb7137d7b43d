"""A deployment without machines: servers that answer as told, at a provider in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from images import store, stored_plan
from images.history import journal
from images.home import Home
from images.progress import Progress
from images.promote import green, records
from images.promote.goal import Goal
from images.promote.job import Job, Site, labels
from images.promote.observe import look
from images.promote.reach import Contact, RefusedError, UnreachableError, no_way_in
from images.promote.runs import Run
from images.providers.base import Order, Server, unguarded
from images.run import Result
from images.ssh import Door
from images.store import Image, now
from specs.errors import BakehouseError
from specs.model import Strategy
from specs.plan import resolve
from specs.read import read
from tests.memory import MemoryProvider

SPEC_FILE = Path(__file__).parents[4] / "specs/hobby.yaml"
HOBBY = read(SPEC_FILE)
NEW = Image("hobby-000000000002", "hobby", "", 0, "", "", (), {}, (0, 0, 0))


@dataclass(slots=True)
class Answering(Contact):
    """A server behind SSH that knows its role; silent while it is off, or has none."""

    site: Any = None

    @property
    def now(self) -> Server:
        servers: list[Server] = self.site.provider.servers("hobby")
        return next(one for one in servers if one.id == self.server.id)

    def shell(self, line: str, *, timeout: float = 0, stdin: str | None = None) -> Result:
        if self.name in self.site.locked:
            raise no_way_in(self.name, "deploy@203.0.113.1: Permission denied (publickey).")
        if self.now.status == "off" or self.name not in self.site.roles:
            raise UnreachableError(f"{self.name} does not answer", "")
        state, epoch = self.site.roles[self.name]
        primary = state in ("serving", "restored")
        pending = primary and self.name in self.site.full
        role = {"state": state, "epoch": epoch, "primary": primary, "pending": pending}
        role["live"] = True
        if "bakehouse.hand" in line:
            asked = json.loads(stdin or "{}").get("do")
            said = {"rows": self.site.rows} if asked == "replication" else {"role": role}
            told = {"postgres": None, **self.site.told.get(self.name, {})}
            return Result(0, json.dumps({"ok": True, **told, **said}), "")
        if "bakehouse.swap status" in line:
            return Result(0, json.dumps(self.site.swap), "")
        if records.PLACE in line:
            packed = self.site.records.get(self.name)
            return Result(0, packed, "") if packed else Result(1, "", "no such file")
        if "cloud-init status" in line:
            return Result(0, "0", "")
        self.site.done.append(f"{self.name}: {line.partition('bakehouse.')[2]}")
        if "guard expect" in line and self.name in self.site.unheard:
            return Result(2, "", self.site.unheard[self.name])
        if "guard restore" in line and self.name in self.site.full:
            return Result(1, "", "OSError: [Errno 28] No space left on device: 'role.json'")
        if "alone" in line:
            raise RefusedError("users cannot be asked here", "")
        return Result(0, json.dumps(role), "")

    def follow(
        self, module: str, *words: str, on_line: Callable[[str], None], timeout: float | None = None
    ) -> int:
        return 0 if self.site.swap["state"] == "swapped" else 1


@dataclass(frozen=True)
class Place(Site):
    """A deployment whose servers answer as told: role and epoch by name, `swap` by green's unit.

    The disks of those in `full` are full, those in `locked` let nobody in, and those in `unheard`
    answer with these words that they cannot be told of a swap. `told` are further facts
    by name, `records` those of images that servers keep, by the servers' names, and `rows` who
    streams from whoever serves.
    """

    roles: dict[str, tuple[str, int]] = field(default_factory=dict)
    swap: dict[str, Any] = field(default_factory=lambda: {"state": "none", "epoch": None})
    done: list[str] = field(default_factory=list)
    full: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    unheard: dict[str, str] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)

    def contact(self, server: Server) -> Contact:
        return Answering(server, lambda: Door(Path("none")), site=self)

    def add(self, generation: int, image: str, role: str, epoch: int, state: str) -> Server:
        name = f"hobby-g{generation}-e{epoch}"
        self.roles[name] = (state, epoch)
        marks = labels("hobby", generation, image, role, epoch)
        return self.provider.create_server(Order(name, image, "", marks))

    def job(self, strategy: Strategy = "replica") -> Job:
        return Job(self, "promote", NEW, 2, resolve(HOBBY, None, ()), strategy)


@dataclass
class Powering(MemoryProvider):
    """Tells the server's new state when it is asked for it, as a cloud does."""

    broken: str = ""
    check: Callable[[], None] = unguarded

    def guard(self, check: Callable[[], None]) -> None:
        self.check = check

    def create_server(self, order: Order) -> Server:
        made = MemoryProvider.create_server(self, order)
        if self.broken == "create":
            raise BakehouseError("the action failed", "see its console")
        return made

    def delete_server(self, server: str) -> None:
        if self.broken == "delete":
            raise BakehouseError("503 from the provider", "again")
        MemoryProvider.delete_server(self, server)


def deployed(folder: Path) -> Place:
    """A deployment that has its floating IP, and no server yet."""
    place = Place(Home(folder), Powering(), HOBBY, SPEC_FILE)
    place.provider.create_floating_ip("hobby")
    return place


def recorded(image: str, strategy: Strategy = "replica", created: str = "") -> str:
    """What a server of an image tells of it, as `records.pack` leaves it there."""
    plan = resolve(HOBBY, None, ())
    plan = replace(
        plan, image=replace(plan.image, data=replace(plan.image.data, strategy=strategy))
    )
    record = replace(NEW, id=image, created=created or now())
    files = {
        "plan.json": stored_plan.dump(plan),
        "spec.lock": "",
        "report.json": json.dumps({"passed": True}),
        store.RECORD: json.dumps(asdict(record)),
    }
    return json.dumps(files)


def begun(site: Place, goal: Goal, lease: Any) -> Run:
    """A run under its lease, as `promote.begin` makes it."""
    world = look(site)
    blue = world.named(goal.blue)
    assert blue is not None
    found = green.find(world, goal)
    log = journal(site.home, site.name)
    fresh = found is None or found.server.id != goal.green
    return Run(goal.job, lease, log, Progress(), blue.contact, {}, found, fresh)
