"""When a run is due, what a scheduler is told of that, and what the schedule's files carry."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from invoke.context import Context

from images import run as processes
from images.history import journal
from images.home import Home
from images.locking import Renewed
from images.progress import Progress
from images.promote.alone import alone
from images.promote.job import Site
from images.scheduled import due, verbs
from images.scheduled.rebuild import Run, Ways, Wish, rebuild
from images.scheduled.schedule import schedule
from specs.errors import BakehouseError, UsageError
from specs.lock import Lock, LockedPackage
from specs.model import Rebuild, Spec
from specs.read import read
from tests.memory import MemoryProvider
from tests.unit.images.promote.placed import SPEC_FILE

NOW = datetime.now(UTC)
HOURLY = Spec("web", rebuild=Rebuild(schedule=f"{NOW - timedelta(minutes=2):%H:%M}"))
BASH = LockedPackage("bash", "1", "all", "debian", "pool/b.deb", "0" * 64, 5)
LOCK = Lock(0, "trixie", "amd64", {"base": (BASH,)}, {}, {})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(Home(tmp_path / "home"), MemoryProvider(), HOURLY, tmp_path / "web.yaml")


def refused(*_: object) -> NoReturn:
    raise BakehouseError("the index has expired", "wait for the mirror")


def run(site: Site, wish: Wish, *, fails: bool = False) -> str:
    """One run that bakes nothing; its end."""
    renewed = Renewed(None, LOCK, site.spec_file.with_suffix(".lock"))
    ways = Ways(
        recall=lambda: None,
        refresh=refused if fails else lambda: renewed,
        image_id=lambda _: "web-000000000002",
        build=refused,
        swap=refused,
        resume=lambda: None,
        tidy=lambda: 0,
    )
    return rebuild(Run(site, ways, wish, Progress())).end


def test_a_look_is_no_run(site: Site) -> None:
    assert run(site, Wish(dry_run=True)) == "planned"
    assert run(site, Wish(dry_run=True), fails=True) == "failed"
    assert due.waits(site.home, HOURLY) == ""
    assert [entry["outcome"] for entry in journal(site.home, "web").deeds()] == [
        "planned",
        "failed",
    ]
    assert run(site, Wish()) == "failed"
    assert "not due" in due.waits(site.home, HOURLY)
    assert run(site, Wish(dry_run=True)) == "planned"
    assert "not due" in due.waits(site.home, HOURLY)


def test_a_look_of_an_older_version_is_no_run(site: Site) -> None:
    journal(site.home, "web").record("rebuild", "planned")
    assert due.waits(site.home, HOURLY) == ""


def test_a_run_that_found_another_at_work_is_none(site: Site) -> None:
    with alone(site, "rebuild"):
        assert run(site, Wish()) == "refused"
    assert due.waits(site.home, HOURLY) == ""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Where the last run of the example has just ended."""
    monkeypatch.setattr(processes, "require_root", lambda _: None)
    found = Home(tmp_path / "home")
    journal(found, read(SPEC_FILE).name).record("rebuild", "nothing-to-do")
    return found


def test_what_is_not_due_is_told_as_json(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    verbs.rebuild.body(Context(), due=True, spec=str(SPEC_FILE), store=str(home.root), json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["outcome"], told["spec"]) == (True, "not-due", "hobby")
    assert told["why"].startswith("hobby: not due; the last run ended")


@pytest.mark.parametrize("person", [False, True], ids=["cron", "person"])
def test_what_is_not_due_is_told_to_a_person_alone(
    home: Home,
    person: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: person)
    verbs.rebuild.body(Context(), due=True, spec=str(SPEC_FILE), store=str(home.root))
    said = capsys.readouterr()
    assert said.out == ""
    assert ("not due" in said.err) is person


def test_crons_mail_gets_what_fails_before_the_run_begins() -> None:
    (text,) = schedule(HOURLY, SPEC_FILE, "cron").files.values()
    assert text.splitlines()[-1].endswith(f"invoke rebuild --due --spec {SPEC_FILE}")
    assert "/dev/null" not in text


@pytest.mark.parametrize("kind", ["systemd", "cron"])
def test_a_home_that_is_set_goes_into_the_schedule(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BAKEHOUSE_HOME", raising=False)
    text = next(iter(schedule(HOURLY, SPEC_FILE, kind).files.values()))
    assert "BAKEHOUSE_HOME" not in text
    monkeypatch.setenv("BAKEHOUSE_HOME", "/srv/bakehouse")
    text = next(iter(schedule(HOURLY, SPEC_FILE, kind).files.values()))
    line = "BAKEHOUSE_HOME=/srv/bakehouse"
    assert (f"Environment={line}" if kind == "systemd" else line) in text.splitlines()


@pytest.mark.parametrize("kind", ["systemd", "cron"])
def test_a_home_that_a_scheduler_would_take_apart_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAKEHOUSE_HOME", "/srv/$HOME")
    with pytest.raises(UsageError, match=r"it holds '\$'"):
        schedule(HOURLY, SPEC_FILE, kind)


def test_gitlabs_tokens_are_for_protected_branches_alone() -> None:
    """So a merge request's job may lack its own: then the plan goes to its log."""
    spec = read(SPEC_FILE)
    (text,) = schedule(spec, SPEC_FILE, "gitlab-ci").files.values()
    assert "Tokens are masked and protected variables" in text
    assert text.index('test -n "$BAKEHOUSE_TOKEN" ||') < text.index("PRIVATE-TOKEN")
