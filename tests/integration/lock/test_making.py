"""Making a lock: what is in it, and when it stays as it is."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from images.archive import cached
from images.home import Home
from specs.lock import dump, parse
from tests.integration.lock.bench import Bench, failing


def test_a_lock_has_each_layer_with_paths_digests_and_dated_indexes(bench: Bench) -> None:
    lock = bench.lock()
    assert [p.name for p in lock.sets["base"]] == ["lib", "lib-data"]
    assert [p.name for p in lock.sets["services"]] == ["app"]
    assert lock.sets["extra"] == ()
    assert [p.name for p in lock.sets["tools"]] == ["tool"]
    tool = lock.sets["tools"][0]
    assert (tool.archive, tool.path) == ("extra", "pool/t/tool/tool_1_all.deb")
    assert (bench.debs.root / tool.path).stat().st_size == tool.size
    index = lock.indexes["extra trixie"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", index.date)
    assert datetime.fromtimestamp(lock.epoch, UTC).strftime("%FT%TZ") == index.date
    assert lock.wanted["services"] == ("app",)
    assert not list(bench.home.work.iterdir())


def test_the_same_archive_state_gives_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    text = dump(bench.lock())
    again = replace(bench, home=Home(tmp_path / "other"))
    assert dump(again.lock()) == text
    assert parse(text, "x.lock") == bench.lock()


def test_an_archive_signed_anew_with_the_same_packages_changes_nothing(bench: Bench) -> None:
    lock = bench.lock()
    bench.debs.publish()
    assert bench.lock(lock) is lock


def test_versions_with_an_epoch_and_odd_letters_are_found_and_fetched(bench: Bench) -> None:
    bench.debs.add("odd", "1:2.0~rc1+b2")
    bench.debs.publish()
    bench.layers["extra"] = ("odd",)
    lock = bench.lock()
    (odd,) = lock.sets["extra"]
    assert (odd.version, odd.path) == ("1:2.0~rc1+b2", "pool/o/odd/odd_2.0~rc1+b2_all.deb")
    bench.fetch(lock)
    assert cached(bench.home, odd).exists()


def test_an_unknown_package_and_a_name_that_others_provide_are_refused(bench: Bench) -> None:
    bench.layers["extra"] = ("nothing",)
    assert "Unable to locate package nothing" in failing(bench.lock).message
    bench.debs.add("real", "1", Provides="role")
    bench.debs.publish()
    bench.layers["extra"] = ("role",)
    assert "role is not a package but a name" in failing(bench.lock).message


def test_what_cannot_be_installed_together_is_told_by_apt_itself(bench: Bench) -> None:
    bench.debs.add("needy", "1", Depends="lib (>= 9)")
    bench.debs.publish()
    bench.layers["extra"] = ("needy",)
    assert re.search(r"needy : Depends: lib \(>= 9\)|needy", failing(bench.lock).message)
