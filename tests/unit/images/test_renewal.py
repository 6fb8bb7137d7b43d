"""A scheduled run renews host certificates in time, and how it ends is not changed by that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from images import store
from images.built import Built
from images.home import Home
from images.hosts.certificates import Certificate
from images.locking import Renewed
from images.progress import Progress
from images.promote.job import ACTIVE, GIVEN_UP, STANDBY, Site, labels, owner
from images.promote.lease import take
from images.promote.reach import Contact
from images.providers.base import Order, Server
from images.run import CommandError
from images.scheduled import renewal
from images.scheduled.outcome import Outcome
from images.scheduled.rebuild import Run, Ways, Wish, rebuild
from images.scheduled.renewal import renew_due
from images.ssh import Door
from specs.errors import BakehouseError
from specs.lock import Lock, LockedPackage
from specs.model import Spec
from tests.memory import MemoryProvider

MOMENT = datetime(2026, 5, 1, 12, 0)
NOW = MOMENT.timestamp()
OLD, NEW = "web-000000000001", "web-000000000002"
BASH = LockedPackage("bash", "1", "all", "debian", "pool/b.deb", "0" * 64, 5)
LOCK = Lock(0, "trixie", "amd64", {"base": (BASH,)}, {}, {})
FAR = 60


@dataclass(frozen=True)
class Reached(Site):
    """Servers by SSH: each has a certificate for so many days (0: none), or is silent."""

    days: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def contact(self, server: Server) -> Contact:
        return Contact(server, lambda: Door(Path(server.name)))

    def add(self, name: str, days: int | None, role: str = ACTIVE) -> Server:
        """A server with a certificate for so many days; None: it does not answer."""
        if days is not None:
            self.days[name] = days
        return self.provider.create_server(Order(name, OLD, "", labels("web", 1, OLD, role, 1)))

    def in_force(self, name: str, _: Door) -> Certificate:
        self.asked.append(name)
        if name not in self.days:
            raise CommandError("ssh -F config machine own", "exit code 255", "no route to host")
        left = self.days[name]
        return Certificate(name, 1, (name,), MOMENT + timedelta(days=left) if left else None)

    def renew_all(self, _: Site, __: object, *contacts: Contact) -> None:
        for contact in contacts:
            if contact.name in self.broken:
                raise BakehouseError("the secrets file cannot be opened\nat all", "bring its key")
            self.renewed.append(contact.name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reached:
    place = Reached(Home(tmp_path / "home"), MemoryProvider(), Spec("web"), tmp_path / "web.yaml")
    place.provider.make_note("web.generation-1", {"image": OLD, "created": str(int(NOW))})
    monkeypatch.setattr(renewal, "in_force", place.in_force)
    monkeypatch.setattr(renewal, "renew_all", place.renew_all)
    return place


def test_what_has_less_than_45_days_left_is_renewed(site: Reached) -> None:
    for name, days in {"a": 44, "b": 45, "c": 0, "d": -3, "e": 89}.items():
        site.add(name, days)
    notes: list[str] = []
    assert renew_due(site, NOW, notes.append) == []
    assert site.renewed == ["a", "c", "d"]
    assert notes[0] == "a has a fresh SSH host certificate; the one before ends 2026-06-14"
    assert notes[1].endswith("the one before is missing")


def test_where_all_have_time_each_is_asked_once(site: Reached) -> None:
    site.add("a", FAR)
    site.add("b", FAR, STANDBY)
    notes: list[str] = []
    assert renew_due(site, NOW, notes.append) == []
    assert (site.asked, site.renewed, notes) == (["a", "b"], [], [])


def test_one_that_fails_keeps_no_other_from_it(site: Reached) -> None:
    for name, days in {"a": 20, "b": None, "c": 20}.items():
        site.add(name, days)
    site.broken.append("a")
    told = renew_due(site, NOW, lambda _: None)
    assert told == [
        "the SSH host certificate of a ends 2026-05-21 and could not be renewed: "
        "the secrets file cannot be opened",
        "b does not tell when its SSH host certificate ends: no route to host",
    ]
    assert site.renewed == ["c"]


def test_who_is_off_or_given_up_is_not_asked(site: Reached) -> None:
    site.provider.power_off(site.add("a", None).id)
    site.add("b", None, GIVEN_UP)
    assert renew_due(site, NOW, lambda _: None) == []
    assert site.asked == []


def test_a_swap_that_runs_is_left_alone(site: Reached) -> None:
    site.add("a", 3)
    with owner(site) as name:
        lease = take(site.provider, "web", name, {"verb": "promote"})
        assert renew_due(site, NOW, lambda _: None) == []
        assert (site.asked, site.renewed) == ([], [])
        lease.lapse()  # cut short: it may be long until a person goes on with it
        before = site.provider.notes("web-lease-")
        assert renew_due(site, NOW, lambda _: None) == []
    assert site.renewed == ["a"]
    assert site.provider.notes("web-lease-") == before


def test_a_swap_that_begins_meanwhile_is_left_alone(
    site: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(name: str, door: Door) -> Certificate:
        take(site.provider, "web", "another-machine", {"verb": "promote"})
        return site.in_force(name, door)

    site.add("a", 3)
    monkeypatch.setattr(renewal, "in_force", begun)
    assert renew_due(site, NOW, lambda _: None) == []
    assert (site.asked, site.renewed) == (["a"], [])


def refused() -> NoReturn:
    raise BakehouseError("the index has expired", "wait for the mirror")


def run(site: Reached, image: str, refresh: Callable[[], Renewed], wish: Wish) -> Outcome:
    """One run with the policy `stage`; it bakes unless `image` serves."""

    def build(_: int) -> Built:
        made = store.Image(image, "web", "", 0, "2026-05-01T12:00:00Z", "", (), {}, (0, 0, 0))
        generation = store.Generation("web", 2, image, made.created)
        return Built(made, generation, site.home.root / "disk.raw", False, 1.0)

    ways = Ways(
        recall=lambda: None,
        refresh=refresh,
        image_id=lambda _: image,
        build=build,
        swap=lambda _: refused(),
        resume=lambda: None,
        tidy=lambda: 0,
    )
    return rebuild(Run(site, ways, wish, Progress(), lambda: NOW))


@pytest.mark.parametrize("days", [FAR, 44, 10], ids=["in time", "due", "fails"])
@pytest.mark.parametrize("end", ["nothing-to-do", "staged", "failed"])
def test_every_end_of_a_run_looks_and_stays_what_it_is(site: Reached, end: str, days: int) -> None:
    site.add("web-g1-e1", days)
    site.broken.extend(["web-g1-e1"] if days == 10 else [])
    renewed = Renewed(None, LOCK, site.spec_file.with_suffix(".lock"))
    refresh = refused if end == "failed" else lambda: renewed
    ended = run(site, OLD if end == "nothing-to-do" else NEW, refresh, Wish())
    assert ended.end == end
    assert ended.exit_code == (1 if end == "failed" else 0)
    assert site.renewed == (["web-g1-e1"] if days == 44 else [])
    assert bool(ended.alarm) == (days == 10)
    if ended.alarm:
        assert "ALARM: the SSH host certificate of web-g1-e1 ends 2026-05-11" in ended.headline()


def test_a_look_renews_nothing(site: Reached) -> None:
    site.add("web-g1-e1", 3)
    renewed = Renewed(None, LOCK, site.spec_file.with_suffix(".lock"))
    assert run(site, NEW, lambda: renewed, Wish(dry_run=True)).end == "planned"
    assert site.asked == []


def test_where_nothing_is_deployed_nothing_is_done(site: Reached) -> None:
    renewed = Renewed(None, LOCK, site.spec_file.with_suffix(".lock"))
    assert run(site, NEW, lambda: renewed, Wish()).alarm == ""
    assert site.asked == []
