"""What a killed run leaves is seen as such, and what a provider does late is not done twice."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from images import store
from images.history import journal
from images.home import Home
from images.marks import mark_bad, marked, pin
from images.progress import Progress
from images.promote import moving
from images.promote.goal import Goal
from images.promote.job import Job, Site, known_dead, newest_good, owner
from images.promote.lease import HeldLeaseError, newest, take
from images.promote.promote import resume
from images.promote.reach import Contact
from images.promote.runs import Run, UnfinishedError, leased, refuse_unfinished, unfinished
from images.providers.base import SPEC, FloatingIp, Order
from images.ssh import Door
from images.store import Image
from specs.errors import BakehouseError, UsageError
from specs.plan import resolve
from specs.read import read
from tests.memory import MemoryProvider

SPEC_FILE = Path(__file__).parents[4] / "specs/hobby.yaml"
HOBBY = read(SPEC_FILE)
GOAL = {"verb": "promote", "generation": "2"}
WHOLE = {**GOAL, "from": "hobby-g1"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(Home(tmp_path), MemoryProvider(), HOBBY, SPEC_FILE)


def test_a_run_that_lives_is_not_dead_and_one_that_ended_is_unknown(site: Site) -> None:
    with owner(site) as name:
        assert not known_dead(site, name)
    assert not known_dead(site, name)


def test_a_killed_run_is_known_to_be_dead(site: Site) -> None:
    (site.home.root / "history").mkdir()
    (site.home.root / "history/.hobby.abc").touch()
    assert known_dead(site, "abc")


def test_a_name_from_the_provider_leads_nowhere_else(site: Site) -> None:
    (site.home.root / "history").mkdir()
    (site.home.root / "elsewhere").touch()
    assert not known_dead(site, "../../elsewhere")


def test_a_run_that_gave_its_lease_back_is_no_hindrance(site: Site) -> None:
    with leased(site, GOAL) as (lease, _):
        with pytest.raises(HeldLeaseError, match="promote to generation 2"):
            refuse_unfinished(site)
        lease.release()
    refuse_unfinished(site)
    assert unfinished(site, Progress()) is None


def test_a_run_that_fails_leaves_a_lease_that_nobody_need_wait_for(site: Site) -> None:
    with pytest.raises(BakehouseError, match="no server"), leased(site, GOAL):
        site.provider.set_labels("s99", {})
    with pytest.raises(UnfinishedError):
        refuse_unfinished(site)


class Revoked(MemoryProvider):
    """From some moment on it takes the token no more."""

    valid = True

    def change_note(self, name: str, labels: Mapping[str, str]) -> None:
        if not self.valid:
            raise BakehouseError("401 from the provider", "another token")
        super().change_note(name, labels)


def test_nor_when_the_provider_could_not_be_told(tmp_path: Path) -> None:
    provider = Revoked()
    site = Site(Home(tmp_path), provider, HOBBY, SPEC_FILE)
    with pytest.raises(BakehouseError, match="no server"), leased(site, GOAL) as (lease, _):
        provider.valid = False
        provider.set_labels("s99", {})
    assert known_dead(site, lease.claim.owner)
    with pytest.raises(UnfinishedError):
        refuse_unfinished(site)


def test_what_runs_that_failed_left_goes_in_time(site: Site) -> None:
    with suppress(UsageError), owner(site) as failed:
        raise UsageError("no")
    left = site.home.root / f"history/.hobby.{failed}"
    with owner(site):
        assert left.exists()
    os.utime(left, (0, 0))
    with owner(site) as name:
        assert not left.exists()
        assert not known_dead(site, name)


def test_a_run_that_was_cut_short_comes_first(site: Site) -> None:
    take(site.provider, site.name, "gone", GOAL, clock=lambda: time.time() - 3600)
    with pytest.raises(UnfinishedError, match="promote to generation 2 \\(epoch 1\\)"):
        refuse_unfinished(site)
    claim = unfinished(site, Progress())
    assert claim is not None and claim.goal == GOAL


def test_a_killed_run_need_not_be_waited_for(site: Site) -> None:
    (site.home.root / "history").mkdir()
    (site.home.root / "history/.hobby.killed").touch()
    take(site.provider, site.name, "killed", GOAL)
    assert unfinished(site, Progress()) is not None
    with leased(site, GOAL) as (lease, _):
        assert lease.epoch == 2


@dataclass
class Moody(MemoryProvider):
    """Moves the IP after so many `errors` only, and shows it after so many more (`blind`); with
    `late` a call works and says it failed."""

    errors: int = 0
    late: bool = False
    blind: int = 0
    calls: list[str] = field(default_factory=list)

    def floating_ip(self, name: str) -> FloatingIp:
        self.blind -= 1
        if self.blind >= 0:
            raise BakehouseError("503 from the provider", "again")
        return MemoryProvider.floating_ip(self, name)

    def assign(self, name: str, server: str) -> None:
        self.calls.append(server)
        if self.late:
            MemoryProvider.assign(self, name, server)
        if len(self.calls) <= self.errors:
            raise BakehouseError("503 from the provider", "again")
        MemoryProvider.assign(self, name, server)


def running(site: Site) -> Run:
    """A run that is about to move the IP."""
    site.provider.create_floating_ip("hobby")
    plan = resolve(HOBBY, None, ())
    image = Image("hobby-1", "hobby", "", 0, "", "", (), {}, (0, 0, 0))
    job = Job(site, "promote", image, 2, plan, "replica")
    server = site.provider.create_server(Order("hobby-g2-e1", "hobby-1", "", {SPEC: "hobby"}))
    contact = Contact(server, lambda: Door(Path("none")))
    lease = take(site.provider, site.name, "me", Goal(job, "hobby-g1-e0").labels())
    log = journal(site.home, site.name)
    return Run(job, lease, log, Progress(), contact, {}, contact)


def test_a_provider_that_fails_twice_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "PAUSE", 0)
    provider = Moody(errors=2)
    run = running(Site(Home(tmp_path), provider, HOBBY, SPEC_FILE))
    moving.assign(run)
    assert len(provider.calls) == 3
    assert provider.floating_ip("hobby").server == run.there().server.id


def test_a_provider_that_cannot_look_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "PAUSE", 0)
    run = running(Site(Home(tmp_path), Moody(blind=3), HOBBY, SPEC_FILE))
    assert moving.floating_ip(run).name == "hobby"


def test_an_answer_that_comes_too_late_counts(tmp_path: Path) -> None:
    provider = Moody(errors=1, late=True)
    run = running(Site(Home(tmp_path), provider, HOBBY, SPEC_FILE))
    moving.assign(run)
    assert len(provider.calls) == 1


def test_a_provider_that_refuses_for_good_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "PAUSE", 0)
    run = running(Site(Home(tmp_path), Moody(errors=99), HOBBY, SPEC_FILE))
    with pytest.raises(BakehouseError, match="503"):
        moving.assign(run)


def test_nobody_moves_the_ip_without_the_lease(site: Site) -> None:
    run = running(site)
    claim = newest(site.provider, site.name)
    assert claim is not None
    site.provider.make_note("hobby-lease-2", {**claim.labels(), "owner": "another"})
    with pytest.raises(BakehouseError, match="the lease is lost"):
        moving.assign(run)
    assert site.provider.floating_ip("hobby").server == ""


def generation(site: Site, number: int, why_bad: str = "") -> None:
    """A generation in the store, with nothing behind it."""
    image = f"hobby-{number:012}"
    (site.home.images / image).mkdir(parents=True)
    store.add_generation(site.home, "hobby", image)
    if why_bad:
        mark_bad(site.home, site.provider, "hobby", image, why_bad)


def test_the_newest_generation_that_is_not_bad_is_chosen(site: Site) -> None:
    with pytest.raises(UsageError, match="no image yet"):
        newest_good(site)
    generation(site, 1)
    assert newest_good(site) == ("hobby@1", ())
    generation(site, 2, "it did not answer")
    generation(site, 3, "nor did this")
    chosen, told = newest_good(site)
    assert chosen == "hobby@1"
    assert told == (
        "hobby@3 is passed over, it is marked bad: nor did this",
        "hobby@2 is passed over, it is marked bad: it did not answer",
    )


def test_when_all_are_bad_nothing_is_chosen(site: Site) -> None:
    generation(site, 1, "it did not answer")
    with pytest.raises(UsageError, match="every generation of hobby is marked bad; hobby@1"):
        newest_good(site)


def test_generations_are_told_with_their_marks(site: Site) -> None:
    generation(site, 1)
    generation(site, 2, "it did not answer")
    pin(site.home, None, next(store.generations(site.home, "hobby")))
    kept, bad = marked(site.home)
    assert (kept.as_data()["pinned"], kept.as_data()["bad"]) == (True, None)
    assert (bad.as_data()["pinned"], bad.as_data()["bad"]) == (False, "it did not answer")
    assert kept.line().endswith("  pinned")
    assert bad.line().endswith("  bad: it did not answer")


def test_what_a_lost_machine_never_began_is_called_off(site: Site) -> None:
    """It baked the image, took the lease, and was gone before it made a server."""
    take(site.provider, site.name, "lost", WHOLE, clock=lambda: 0.0)
    assert resume(site, Progress()) is None
    claim = newest(site.provider, site.name)
    assert claim is not None
    assert not claim.held
    assert resume(site, Progress()) is None


def test_what_it_began_needs_its_server_s_word(site: Site) -> None:
    take(site.provider, site.name, "lost", WHOLE, clock=lambda: 0.0)
    marks = {SPEC: "hobby", "generation": "2", "image": "hobby-000000000002"}
    made = site.provider.create_server(Order("hobby-g2-e1", "hobby-000000000002", "", marks))
    site.provider.power_off(made.id)
    with pytest.raises(BakehouseError, match="no image 'hobby@2'"):
        resume(site, Progress())
    assert newest(site.provider, site.name).held  # type: ignore[union-attr]
