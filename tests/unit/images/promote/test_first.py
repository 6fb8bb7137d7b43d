"""The first deployment: beside backups, with one restored, cut short, and before its domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from images.home import Home
from images.progress import Progress
from images.promote import first
from images.promote.goal import Goal
from images.promote.job import Job, Verb
from images.promote.lease import newest
from images.promote.reach import Contact
from images.promote.runs import Outcome, leased
from images.providers.base import Order, Server
from images.run import Result
from images.ssh import Door
from specs.errors import BakehouseError, UsageError
from tests.unit.images.promote.placed import HOBBY, SPEC_FILE, Answering, Place, Powering

ARCHIVE = "hobby-2026-11-30T03:02:11"
NO_CERTIFICATE = "https://example.org: curl: (35) SSL routines::tlsv1 alert internal error"


@dataclass(slots=True)
class Backed(Answering):
    """A server beside a repository."""

    def shell(self, line: str, *, timeout: float = 0, stdin: str | None = None) -> Result:
        if "borg list" in line:
            assert "'hobby-????-??-??T??:??:??'" in line
            return Result(0, "\n".join(self.site.archives), "")
        return super(Backed, self).shell(line, timeout=timeout, stdin=stdin)

    def follow(
        self, module: str, *words: str, on_line: Callable[[str], None], timeout: float | None = None
    ) -> int:
        self.site.done.append(module)
        on_line("restoring" if self.site.archives else "<3>the repository holds no archive")
        return 0 if self.site.archives else 1


@dataclass(frozen=True)
class Beginning(Place):
    """A spec that has nothing at its provider; `wrong` is what users see in the end."""

    archives: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def contact(self, server: Server) -> Contact:
        self.roles[server.name] = ("", 0)
        return Backed(server, lambda: Door(Path("none")), site=self)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Beginning:
    place = Beginning(Home(tmp_path), Powering(), HOBBY, SPEC_FILE)

    def order(wanted: Job, epoch: int, role: str, *, may_init: bool) -> Order:
        assert (role, may_init) == ("primary", True)
        return Order(f"hobby-g2-e{epoch}", wanted.image.id, "", wanted.labels(epoch, "active"))

    monkeypatch.setattr(Job, "order", order)
    monkeypatch.setattr(Job, "secrets", lambda _: {})
    for name in ("deliver", "renew_all", "records.leave", "pair.wait_for", "pair.settle"):
        monkeypatch.setattr(f"images.promote.first.{name}", lambda *_: None)
    monkeypatch.setattr(first, "CERTIFICATES", 0.0)
    monkeypatch.setattr("images.promote.first.pair.SETTLE", 0.2)
    monkeypatch.setattr("images.promote.first.outside.by_http", lambda *_: ["plain"])
    asked = lambda _, which, __: [] if which == ["plain"] else place.wrong  # noqa: E731
    monkeypatch.setattr("images.promote.first.outside.wrong", asked)
    return place


def begin(site: Beginning, verb: Verb = "first") -> Outcome:
    return first.promote_first(replace(site.job(), verb=verb), Progress())


def held(site: Beginning) -> bool:
    claim = newest(site.provider, "hobby")
    return claim is not None and claim.held


def test_a_repository_with_archives_is_refused_and_the_server_goes(site: Beginning) -> None:
    site.archives.append(ARCHIVE)
    with pytest.raises(first.NotFirstError, match=ARCHIVE) as refused:
        begin(site)
    assert "--first --restore" in refused.value.hint
    assert not site.provider.servers("hobby")
    assert not held(site)


def test_it_is_restored_before_users_come(site: Beginning) -> None:
    site.archives.append(ARCHIVE)
    ended = begin(site, "restore")
    assert site.done == ["restore"]
    assert site.provider.floating_ip("hobby").server == site.provider.servers("hobby")[0].id
    assert (ended.generation, held(site)) == (2, False)


def test_a_restore_that_fails_leaves_nothing(site: Beginning) -> None:
    with pytest.raises(BakehouseError, match="newest backup: the repository holds no archive"):
        begin(site, "restore")
    assert not site.provider.servers("hobby")
    assert not held(site)


def test_without_backups_there_is_nothing_to_restore(site: Beginning) -> None:
    wanted = site.job()
    plan = replace(wanted.plan, image=replace(wanted.plan.image, borg=None))
    with pytest.raises(UsageError, match="no section borg"):
        first.promote_first(replace(wanted, verb="restore", plan=plan), Progress())


@pytest.mark.parametrize("verb", ["first", "restore"])
def test_gone_on_with_once_users_come_a_backup_is_its_own(site: Beginning, verb: Verb) -> None:
    wanted = replace(site.job(), verb=verb)
    site.wrong.append("502")
    if verb == "restore":
        site.archives.append("older")
    with pytest.raises(BakehouseError, match="users see: 502"):
        begin(site, verb)
    assert held(site)
    site.wrong.clear()
    site.archives.append(ARCHIVE)
    site.done.clear()
    with leased(site, Goal(wanted, "").labels()) as (lease, log):
        first.deploy(wanted, {}, lease, log, Progress())
    assert site.done == []
    assert not held(site)


def test_a_domain_that_leads_elsewhere_is_told_of(site: Beginning) -> None:
    site.wrong.append(NO_CERTIFICATE)
    note, keep = begin(site).notes
    assert "let the domain's records name" in note
    assert f"keep a copy of {site.home.operator}" in keep
    assert not held(site)


def test_other_wrong_answers_are_not(site: Beginning) -> None:
    site.wrong.extend([NO_CERTIFICATE, "https://example.org/healthz: 502"])
    with pytest.raises(BakehouseError, match="users see"):
        begin(site)


def test_a_run_whose_servers_are_gone_is_in_nobodys_way(site: Beginning) -> None:
    with leased(site, Goal(site.job(), "hobby-g1-e1").labels()):
        pass  # cut short
    assert held(site)
    assert begin(site).generation == 2
