"""A simulated year of weekly runs: what the archive does, what Bakehouse makes of it."""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from images import store
from images.built import Built
from images.history import deed_lines, journal
from images.home import Home
from images.promote.job import Site, owner
from images.promote.lease import take
from images.scheduled.outcome import Outcome
from specs.lock import lock_path
from tests.integration.aptrepo import SECURITY, Archive, serving, signer
from tests.integration.receivers import Inbox, http_receiver
from tests.integration.village import SmallCloud, Village, release

pytestmark = pytest.mark.root


CODES = {
    "nothing-to-do": 0,
    "staged": 0,
    "promoted": 0,
    "failed": 1,
    "refused": 3,
    "rolled-back": 4,
}
"""Exit codes, as docs/rebuild.md has them."""


@pytest.fixture
def hook() -> Iterator[Inbox]:
    with http_receiver() as inbox:
        yield inbox


@pytest.fixture
def village(tmp_path: Path, hook: Inbox) -> Iterator[Village]:
    """`shop` serves, with `lib` and `tool`; generation 1 is deployed."""
    home = Home(tmp_path / "home")
    folder = tmp_path / "spec"
    with (
        signer(tmp_path / "gpg/ours") as key,
        serving(Archive("own", tmp_path / "archive", key)) as debs,
    ):
        key.export(folder / "keys/ours.asc")
        found = Village(folder, debs, home, SmallCloud(home), hook.port)
        for name in ("lib", "shop", "tool"):
            release(debs, name, "1")
        release(debs, "tool", "0.1", SECURITY)
        found.publish()
        try:
            first = found.rebuild()
            assert (first.end, first.generation) == ("staged", 1)
            assert "promote --first" in first.hint
            found.swap(found.site(), first.image)
            yield found
        finally:
            found.close()


@dataclass
class Year:
    """What happened, week by week, for the report at the end."""

    village: Village
    hook: Inbox
    rows: list[tuple[int, str, Outcome]] = field(default_factory=list)
    disk: list[int] = field(default_factory=list)

    def week(self, what: str, expected: str, run: Callable[[], Outcome] | None = None) -> Outcome:
        """One week: its run, which must end as expected, and then the users."""
        self.village.week += 1
        ended = (run or self.village.rebuild)()
        self.rows.append((self.village.week, what, ended))
        assert ended.end == expected, f"{what}: {ended.end}, {ended.why}"
        assert ended.exit_code == (2 if ended.wrong else CODES[expected])
        lost = self.village.lost
        assert self.village.traffic(10)
        assert self.village.lost == lost
        self.disk.append(self.village.disk())
        return ended

    def update(self, name: str, version: str, **more: str | int) -> None:
        """The archive gets a version, and signs."""
        release(self.village.debs, name, version, **more)  # type: ignore[arg-type]
        self.village.publish()

    def report(self) -> str:
        """The year for a person."""
        lines = []
        for number, what, ended in self.rows:
            alarmed = " ALARM" if ended.alarm else ""
            closed = f" closes {','.join(ended.cves())}" if ended.cves() else ""
            disk = self.disk[number - 1] / 1e6
            line = f"week {number:>2}  {what:<46} {ended.end:<14} g{ended.serves:<3} {disk:5.1f} MB"
            lines.append(f"{line}{closed}{alarmed}")
        ends = Counter(ended.end for _, _, ended in self.rows)
        alarms = sum(bool(ended.alarm) for _, _, ended in self.rows)
        lines.append(f"ends: {dict(ends)}, alarms: {alarms}, notices: {len(self.hook.got)}")
        lines.append(
            f"baked {self.village.bakes}, requests answered {self.village.served}, lost "
            f"{self.village.lost}, disk {self.disk[-1] / 1e6:.1f} MB"
        )
        lines += ["notices:", *(f"  {title}" for title in self.hook.titles())]
        return "\n".join(lines)


@pytest.fixture
def year(village: Village, hook: Inbox) -> Iterator[Year]:
    found = Year(village, hook)
    yield found
    print(f"\n{found.report()}")


def quiet(year: Year) -> None:
    """The archive signs anew, and has nothing new."""
    year.village.publish()
    year.week("nothing new", "nothing-to-do")


def ordinary(year: Year, name: str, version: str) -> None:
    """An update that works."""
    year.update(name, version)
    ended = year.week(f"{name} {version}", "promoted")
    assert [line.split()[2] for line in ended.changes] == [name]


def back_in_time(year: Year) -> None:
    """A mirror that shows an older state: a failure, and nothing is older afterwards."""
    before = lock_path(year.village.spec_file).read_text()
    year.village.publish(back=True)
    ended = year.week("the archive goes back in time", "failed")
    assert "older" in ended.why
    assert lock_path(year.village.spec_file).read_text() == before
    year.village.publish()


def expired(year: Year) -> None:
    year.village.publish(days=0.001)
    assert "expired" in year.week("the index has expired", "failed").why
    year.village.publish()


def unreachable(year: Year) -> None:
    site = year.village.site(reachable=False)
    year.week("the archive cannot be reached", "failed", lambda: year.village.rebuild(site))


def wrong_call(year: Year) -> None:
    """What a person has to mend in the spec or the call, told as such."""
    ended = year.week(
        "--only of what is not locked", "failed", lambda: year.village.rebuild(only="nginx")
    )
    assert (ended.wrong, ended.exit_code) == (True, 2)
    assert "the lock has no such package" in ended.why


def full_disk(year: Year, number: int) -> None:
    """What the system refuses fails the run as all else does, and is told."""

    def bake(*_: object) -> Built:
        raise OSError(errno.ENOSPC, "No space left on device", "layers")

    year.update("lib", f"{number}.0")
    ended = year.week("the disk is full", "failed", lambda: year.village.rebuild(bake=bake))
    assert (ended.why, ended.hint) == ("layers: No space left on device", "free some space")


def security(year: Year, number: int) -> None:
    """Between two ordinary updates, the fix alone."""
    release(year.village.debs, "tool", f"{number}.0")
    release(year.village.debs, "lib", f"{number}.1", SECURITY, fixes=f"CVE-2027-{number:04}")
    year.village.publish()
    ended = year.week(
        "a security fix, alone", "promoted", lambda: year.village.rebuild(only="security")
    )
    assert [line.split()[2] for line in ended.changes] == ["lib"]
    assert ended.cves() == [f"CVE-2027-{number:04}"]
    ended = year.week("and what waited beside it", "promoted")
    assert [line.split()[2] for line in ended.changes] == ["tool"]


def does_not_start(year: Year, number: int) -> None:
    """Refused, not tried again, and the lock stays what is proven."""
    before, bakes = lock_path(year.village.spec_file).read_text(), year.village.bakes
    year.update("shop", f"{number}.0", dies=-1)
    ended = year.week("a service that does not start", "refused")
    assert "does not answer" in ended.why
    assert lock_path(year.village.spec_file).read_text() == before
    ended = year.week("the same again", "refused")
    assert "not tried again" in ended.why
    assert year.village.bakes == bakes + 1
    ordinary(year, "shop", f"{number}.1")


def dies_under_traffic(year: Year, number: int) -> None:
    """Swapped back within the confirm time, marked bad, not tried again."""
    before, serves = lock_path(year.village.spec_file).read_text(), year.village.cloud.active()
    year.update("shop", f"{number}.0", dies=8)
    ended = year.week("a service that dies under traffic", "rolled-back")
    assert ended.exit_code == 4
    assert year.village.cloud.active() is serves
    assert lock_path(year.village.spec_file).read_text() == before
    assert "not tried again" in year.week("the same again", "refused").why
    ordinary(year, "shop", f"{number}.1")


def outside_the_window(year: Year, number: int) -> None:
    """It waits, and the next run within the window swaps it in without a bake."""
    year.update("tool", f"{number}.0")
    site = year.village.site(window="Wed 02:00-06:00")
    ended = year.week("outside of the window", "staged", lambda: year.village.rebuild(site))
    assert "within Wed" in ended.hint
    bakes = year.village.bakes
    year.week("within it", "promoted")
    assert year.village.bakes == bakes


def staged(year: Year, number: int) -> None:
    """It waits for a person."""
    year.update("tool", f"{number}.0")
    site = year.village.site(policy="stage")
    ended = year.week("policy stage", "staged", lambda: year.village.rebuild(site))
    assert ended.image in year.village.cloud.uploaded
    year.week("policy stage, nothing new", "nothing-to-do", lambda: year.village.rebuild(site))
    assert not year.village.swap(year.village.site(), ended.image).rolled_back


def overlapping(year: Year) -> None:
    """Another run lives: this one does nothing, and tells nobody."""
    site = year.village.site()
    told = len(year.hook.got)
    with owner(site) as name:
        lease = take(site.provider, f"{site.name}.rebuild", name, {"verb": "rebuild"})
        assert "another run holds" in year.week("another run lives", "refused").why
        lease.release()
    assert len(year.hook.got) == told


def killed(year: Year, number: int) -> None:
    """A run is killed in its bake; the next one goes on with what it had renewed."""
    year.update("lib", f"{number}.0")

    def kill(*_: object) -> Built:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def run() -> Outcome:
        child = os.fork()
        if child == 0:
            year.village.rebuild(bake=kill)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        return year.village.rebuild()

    ended = year.week("a run is killed; the next one", "promoted", run)
    assert [line.split()[2] for line in ended.changes] == ["lib"]


def test_a_month_or_two(year: Year) -> None:
    """The short form: one of each, but for the quiet weeks."""
    quiet(year)
    ordinary(year, "lib", "2")
    security(year, 3)
    does_not_start(year, 4)
    dies_under_traffic(year, 5)
    back_in_time(year)
    wrong_call(year)
    full_disk(year, 6)
    killed(year, 7)
    told(year)


@pytest.mark.full
def test_a_year(year: Year) -> None:
    """52 weekly runs with everything that an archive does."""
    staged(year, 2)  # 1, 2
    ordinary(year, "lib", "3")
    quiet(year)
    ordinary(year, "shop", "4")
    back_in_time(year)
    expired(year)
    ordinary(year, "tool", "5")
    unreachable(year)
    quiet(year)  # 10
    security(year, 6)
    ordinary(year, "shop", "7")
    does_not_start(year, 8)
    outside_the_window(year, 9)
    overlapping(year)
    killed(year, 10)  # 20
    for _ in range(7):
        quiet(year)  # to 27, the last weeks with an alarm
    alarmed = [ended.alarm for _, _, ended in year.rows[-7:]]
    assert [bool(alarm) for alarm in alarmed] == [False] * 4 + [True] * 3
    assert "35 days old" in alarmed[4]
    ordinary(year, "lib", "11")
    dies_under_traffic(year, 12)  # to 31
    unreachable(year)
    expired(year)
    security(year, 13)  # to 35
    does_not_start(year, 14)  # to 38
    ordinary(year, "tool", "15")
    ordinary(year, "lib", "16")  # 40
    quiet(year)
    back_in_time(year)
    killed(year, 17)
    for version in range(18, 27):
        ordinary(year, ("lib", "shop", "tool")[version % 3], str(version))  # to 52
    assert len(year.rows) == 52
    told(year)
    assert max(year.disk[26:]) <= max(year.disk[:26])
    numbers = [g.number for g in store.generations(year.village.home, "shop")]
    assert len(numbers) <= 4


def told(year: Year) -> None:
    """Everyone who should know knows, and the journal has it all."""
    wanted = [e for _, _, e in year.rows if not e.quiet and (e.end != "nothing-to-do" or e.alarm)]
    titles = year.hook.titles()[1:]  # the first one told of generation 1
    assert titles == [ended.headline() for ended in wanted]
    log = journal(year.village.home, "shop")
    runs = [entry for entry in log.deeds() if entry["event"] == "rebuild"]
    assert [entry["outcome"] for entry in runs[1:]] == [ended.end for _, _, ended in year.rows]
    refused = next(entry for entry in runs if entry["outcome"] == "refused")
    assert any("does not answer" in line for line in deed_lines(refused, "shop"))


def test_an_undeliverable_notice_is_in_the_journal(village: Village, hook: Inbox) -> None:
    hook.answer = 500
    release(village.debs, "lib", "2")
    village.publish()
    ended = village.rebuild()
    assert (ended.end, ended.exit_code) == ("promoted", 0)
    assert [notice.delivered for notice in ended.notices] == [False]
    (*_, last) = journal(village.home, "shop").deeds()
    assert "500" in last["notices"][0]["why"]


def test_a_runner_that_keeps_nothing_goes_on_where_another_stopped(village: Village) -> None:
    """Numbers, what serves and what is bad are known to the provider alone."""
    release(village.debs, "shop", "2", dies=8)
    village.publish()
    assert village.rebuild().end == "rolled-back"
    site = village.site()
    village.home = Home(village.folder / "another")
    elsewhere = Site(village.home, site.provider, site.spec, site.spec_file)
    assert "another machine" in village.rebuild(elsewhere).why
    release(village.debs, "shop", "3")
    village.publish()
    ended = village.rebuild(elsewhere)
    assert (ended.end, ended.generation) == ("promoted", 3)


def test_what_was_bad_is_tried_again_when_a_person_wants_it(village: Village) -> None:
    release(village.debs, "shop", "2", dies=-1)
    village.publish()
    assert village.rebuild().end == "refused"
    bakes = village.bakes
    assert village.rebuild().end == "refused"
    assert village.bakes == bakes
    assert "does not answer" in village.rebuild(retry=True).why
    assert village.bakes == bakes + 1
