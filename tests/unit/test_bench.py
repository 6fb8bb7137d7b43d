"""What `invoke bench` says about its figures."""

from __future__ import annotations

from pathlib import Path

from images.home import Home
from specs.lock import Lock, LockedPackage
from tests.benchmarks.bench import MORE, Row, page, rows, scratch, with_one_more
from tests.benchmarks.peer import configuration

PACKAGE = LockedPackage(MORE, "4", "amd64", "debian", "pool/m.deb", "0" * 64, 1)
LOCK = Lock(0, "trixie", "amd64", {"core": (PACKAGE,), "extra": (), "tools": (PACKAGE,)}, {}, {})
TIME = Row("whole bake", 61.5049, None, "mkosi", "≤ 0.5 of mkosi", 3)
MEMORY = Row("peak memory of our process", 61.5, None, "mkosi", "≤ 200 MB", 3, 81.25)


def test_rows_as_data() -> None:
    assert TIME.as_data()["seconds"] == 61.505 and TIME.as_data()["ratio"] is None
    assert "megabytes" not in TIME.as_data()
    assert MEMORY.as_data()["megabytes"] == 81.2


def test_the_page_has_a_row_for_each_and_says_where_and_when() -> None:
    text = page([TIME, MEMORY], "a machine", 0.5, "2026-01-31")
    assert "| whole bake | 61.50 s |  | ≤ 0.5 of mkosi | 3 |" in text
    assert "| peak memory of our process | 81 MB |" in text
    assert "2026-01-31" in text and "a machine" in text and "load of 0.5" in text


def test_a_ratio_names_what_it_is_to() -> None:
    row = Row("one package more", 10, 0.2, "a whole bake", "≤ 0.25", 3)
    assert row.cells()[2] == "0.20 of a whole bake"


def test_what_was_not_measured_has_no_row() -> None:
    assert [row.work for row in rows({"whole": 60.0})] == ["whole bake"]
    (whole, site, package) = rows(
        {"whole": 60.0, "site": 3.0, "package": 6.0, "mkosi change": 30, "runs of changes": 3}
    )
    assert (whole.ratio, site.ratio, package.ratio) == (None, 0.1, 0.1)
    assert (whole.runs, site.runs, package.runs) == (0, 3, 3)


def test_what_a_killed_benchmark_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "bench-killed/home-1").mkdir(parents=True)
    (tmp_path / "packages").mkdir()
    with scratch(Home(tmp_path)) as folder:
        assert {path.name for path in tmp_path.iterdir()} == {"packages", folder.name}
    assert [path.name for path in tmp_path.iterdir()] == ["packages"]


def test_one_more_package_is_in_the_image_and_still_a_tool() -> None:
    more = with_one_more(LOCK)
    assert more.sets["extra"] == more.sets["tools"] == (PACKAGE,)
    assert more.wanted["extra"] == (MORE,)


def test_mkosi_gets_our_packages() -> None:
    text = configuration(LOCK, incremental=True)
    assert "Incremental=yes" in text and text.endswith(f"Packages=\n    systemd-boot\n    {MORE}\n")
