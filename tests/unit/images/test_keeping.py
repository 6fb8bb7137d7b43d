"""What stays in the store, and what may go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images import keeping, marks, store
from images.garbage import collect
from images.history import KEPT, journal
from images.home import Home
from specs.lock import Index, Lock, LockedPackage, dump

NOW = 1_800_000_000.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Generations 1 to 6 of `web`, each with a package of its own."""
    found = Home(tmp_path)
    for number in range(1, 7):
        bake(found, number)
    return found


def image_id(number: int) -> str:
    return f"web-{number:012}"


def bake(home: Home, number: int) -> None:
    digest = f"{number:064}"
    package = LockedPackage("app", str(number), "all", "own", f"pool/app_{number}.deb", digest, 1)
    lock = Lock(0, "trixie", "amd64", {"base": (package,)}, {"own": Index("", "")}, {})
    folder = home.images / image_id(number)
    folder.mkdir(parents=True)
    (folder / "spec.lock").write_text(dump(lock))
    (folder / store.RAW).write_bytes(b"disk" * 1000)
    deb = home.packages / digest[:2] / f"{digest}.deb"
    deb.parent.mkdir(parents=True, exist_ok=True)
    deb.write_bytes(b"deb")
    store.add_generation(home, "web", image_id(number))


def numbers(
    home: Home, *, in_use: set[str] | None = None, busy: set[str] | None = None
) -> set[int]:
    kept = keeping.stays(home, in_use or set(), busy or set(), keep=2)
    return {number for _, number in kept.generations}


def test_the_last_ones_stay(home: Home) -> None:
    assert numbers(home) == {5, 6}


def test_what_a_server_runs_stays(home: Home) -> None:
    assert numbers(home, in_use={image_id(2)}) == {2, 5, 6}


def test_what_served_and_what_served_before_it_stay(home: Home) -> None:
    """After a rollback from 4 to 1, these two are what runs and what a rollback needs."""
    log = journal(home, "web")
    for deed, number in (("promote", 1), ("promote", 3), ("promote", 4)):
        log.record(deed, "done", generation=number)  # type: ignore[arg-type]
    log.record("rollback", "done", generation=1)
    log.record("promote", "failed", generation=2)
    assert numbers(home) == {1, 4, 5, 6}


def test_a_pinned_one_stays_until_it_is_unpinned(home: Home) -> None:
    third = store.Generation("web", 3, image_id(3), "")
    marks.pin(home, None, third)
    assert numbers(home) == {3, 5, 6}
    assert marks.unpin(home, None, third)
    assert not marks.unpin(home, None, third)
    assert numbers(home) == {5, 6}


def test_a_bad_one_is_not_one_of_the_last(home: Home) -> None:
    marks.mark_bad(home, None, "web", image_id(6), "/ answers 502")
    assert numbers(home) == {4, 5}
    assert numbers(home, in_use={image_id(6)}) == {4, 5, 6}


def test_while_somebody_works_on_a_spec_all_of_it_stays(home: Home) -> None:
    assert numbers(home, busy={"web"}) == {1, 2, 3, 4, 5, 6}
    assert numbers(home, busy={"other"}) == {5, 6}


def test_what_is_not_needed_goes_with_all_that_it_alone_needed(home: Home) -> None:
    (home.layers / "old").mkdir(parents=True)
    (home.work / "left").mkdir(parents=True)
    found = keeping.garbage(home, keeping.stays(home, (), (), keep=2), now=NOW)
    collect(found, lambda _: None)
    assert [g.number for g in store.generations(home, "web")] == [5, 6]
    assert sorted(folder.name for folder in home.images.iterdir()) == [image_id(5), image_id(6)]
    assert {file.name for file in home.packages.glob("*/*")} == {
        f"{number:064}.deb" for number in (5, 6)
    }
    assert not list(home.layers.iterdir())
    assert not list(home.work.iterdir())
    assert keeping.garbage(home, keeping.stays(home, (), (), keep=2), now=NOW) == []


def test_a_number_is_given_once_even_when_its_image_went(home: Home) -> None:
    marks.mark_bad(home, None, "web", image_id(6), "bad")
    collect(keeping.garbage(home, keeping.stays(home, (), (), keep=1), now=NOW), lambda _: None)
    assert [g.number for g in store.generations(home, "web")] == [5, 6]
    assert not (home.images / image_id(6)).exists()
    assert store.add_generation(home, "web", "web-new").number == 7


def test_an_image_that_was_half_removed_goes(home: Home) -> None:
    (home.images / image_id(6)).rename(home.images / f".{image_id(6)}")
    found = keeping.garbage(home, keeping.stays(home, (), (), keep=6), now=NOW)
    assert found[0].what == f"image {image_id(6)}"
    collect(found, lambda _: None)
    assert not (home.images / f".{image_id(6)}").exists()


def test_a_failed_image_is_kept_for_a_look(home: Home) -> None:
    failed = home.root / "failed"
    failed.mkdir()
    kept = keeping.stays(home, (), (), keep=6)
    os.utime(failed, (NOW - keeping.LOOK + 60,) * 2)
    assert keeping.garbage(home, kept, now=NOW) == []
    os.utime(failed, (NOW - keeping.LOOK - 60,) * 2)
    collect(keeping.garbage(home, kept, now=NOW), lambda _: None)
    assert not failed.exists()


def test_old_lines_of_a_journal_go_unless_somebody_writes_it(home: Home) -> None:
    log = journal(home, "web")
    log.record("build", "done", generation=1)
    (line,) = log.entries()
    old = str(line["time"]).replace("20", "19", 1)
    log.path.write_text(log.path.read_text().replace(str(line["time"]), old))
    log.record("build", "done", generation=2)
    kept = keeping.stays(home, (), (), keep=6)
    assert keeping.garbage(home, kept, busy={"web"}, now=NOW) == []
    (garbage,) = keeping.garbage(home, kept, now=NOW - KEPT)
    assert garbage.what == "1 old lines of web's journal"
    garbage.free()
    assert [entry["generation"] for entry in log.deeds()] == [2]
