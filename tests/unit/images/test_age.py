"""What serves for too long is told, by a runner that keeps nothing between its runs, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from images import store
from images.built import Built
from images.home import Home
from images.locking import Renewed
from images.progress import Progress
from images.promote.job import ACTIVE, Site, labels
from images.promote.records import adopt
from images.providers.base import Order
from images.scheduled import numbers, rebuild
from images.scheduled.outcome import Outcome
from images.scheduled.rebuild import Run, Ways, Wish
from specs.errors import BakehouseError
from specs.lock import Lock, LockedPackage
from specs.model import Rebuild, Spec
from tests.memory import MemoryProvider

START = datetime(2027, 1, 3, 3, tzinfo=UTC)
FIRST = "web-000000000000"
SPEC = Spec("web", rebuild=Rebuild(policy="stage"))
WEEKS = range(1, 9)
TOO_OLD = [day for week in WEEKS if (day := 7 * week) > 30]
"""The days of the weekly runs from which on what was baked on day 0 is too old."""


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def packed(image: str, created: datetime) -> str:
    """What a server of an image tells of it."""
    record = store.Image(image, "web", "", 0, stamp(created), "", (), {}, (0, 0, 0))
    return json.dumps(
        {
            "plan.json": "{}",
            "spec.lock": "",
            "report.json": "{}",
            store.RECORD: json.dumps(asdict(record)),
        }
    )


@dataclass
class Weekly:
    """A spec whose policy is `stage`, where nobody promotes; each run begins with an empty home."""

    folder: Path
    provider: MemoryProvider

    def site(self, week: int) -> Site:
        return Site(Home(self.folder / f"{week}"), self.provider, SPEC, self.folder / "web.yaml")

    def run(self, week: int, recall: Callable[[Site], None]) -> Outcome:
        """This week's run: there is always something new to bake."""
        site, now = self.site(week), START + timedelta(weeks=week)
        image = f"web-{week:012}"

        def build(after: int) -> Built:
            made = store.Image(image, "web", "", 0, stamp(now), "", (), {}, (0, 0, 0))
            generation = store.Generation("web", after + 1, image, made.created)
            return Built(made, generation, self.folder / "disk.raw", False, 1.0)

        bash = LockedPackage("bash", str(week), "all", "debian", "pool/b.deb", f"{week:064}", 5)
        lock = Lock(0, "trixie", "amd64", {"base": (bash,)}, {}, {})
        ways = Ways(
            recall=lambda: recall(site),
            refresh=lambda: Renewed(None, lock, self.folder / "web.lock"),
            image_id=lambda _: image,
            build=build,
            swap=lambda _: pytest.fail("nobody promotes"),
            resume=lambda: None,
            tidy=lambda: 0,
        )
        return rebuild.rebuild(Run(site, ways, Wish(), Progress(), now.timestamp))


@pytest.fixture
def weekly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weekly:
    """Generation 1 serves since day 0."""
    monkeypatch.setattr(rebuild, "renew_due", lambda *_: [])
    place = Weekly(tmp_path, MemoryProvider())
    place.provider.create_server(Order("web-g1-e1", FIRST, "", labels("web", 1, FIRST, ACTIVE, 1)))
    return place


def alarms(weekly: Weekly, recall: Callable[[Site], None]) -> dict[int, str]:
    """The alarm of each weekly run that has one, by its day."""
    ended = {7 * week: weekly.run(week, recall) for week in WEEKS}
    assert {one.end for one in ended.values()} == {"staged"}
    return {day: one.alarm for day, one in ended.items() if one.alarm}


def test_the_note_of_what_serves_stays_and_it_is_too_old_from_day_35_on(weekly: Weekly) -> None:
    numbers.note(weekly.site(0), store.Generation("web", 1, FIRST, stamp(START)))
    found = alarms(weekly, lambda _: None)
    assert list(found) == TOO_OLD == [35, 42, 49, 56]
    assert found[35] == "what serves, generation 1, is 35 days old (rebuild.max_age is 30)"
    assert [known.number for known in numbers.noted(weekly.site(9))] == [1, 7, 8, 9]


def test_the_note_of_what_serves_no_more_goes(weekly: Weekly) -> None:
    numbers.note(weekly.site(0), store.Generation("web", 1, FIRST, stamp(START)))
    for week in WEEKS:
        weekly.run(week, lambda _: None)
    weekly.provider.delete_server("s1")
    weekly.run(9, lambda _: None)
    assert [known.number for known in numbers.noted(weekly.site(9))] == [8, 9, 10]


def test_a_record_without_its_disk_tells_the_age(weekly: Weekly) -> None:
    """Baked by hand, so that the provider has no note of it; the server told its record."""
    found = alarms(weekly, lambda site: adopt(site.home, "web", 1, FIRST, packed(FIRST, START)))
    assert list(found) == TOO_OLD


def test_an_age_that_nobody_knows_is_an_alarm(weekly: Weekly) -> None:
    found = alarms(weekly, lambda _: None)
    assert list(found) == [7 * week for week in WEEKS]
    assert found[7].startswith("the age of what serves, generation 1, is not known")


def test_a_provider_that_does_not_tell_is_an_alarm(
    weekly: Weekly, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise BakehouseError("503 from the provider", "again")

    monkeypatch.setattr(rebuild, "alarm", refuse)
    told = weekly.run(1, lambda _: None).alarm
    assert told == "the age of what serves is not known: 503 from the provider"


def test_where_nothing_serves_and_nothing_was_baked_there_is_no_age(tmp_path: Path) -> None:
    site = Weekly(tmp_path, MemoryProvider()).site(0)
    assert rebuild.alarm(site, START.timestamp()) == ""
