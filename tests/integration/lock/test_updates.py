"""How far an update goes, and what it must take along."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from images.archive import AS_LOCKED
from specs.errors import UsageError
from specs.lock import changes
from tests.integration.aptrepo import (
    SECURITY,
)
from tests.integration.lock.bench import Bench, release, versions


def test_a_full_update_takes_the_newest_of_everything(bench: Bench) -> None:
    lock = bench.lock()
    release(bench.debs, "2")
    bench.debs.publish()
    new = bench.lock(lock)
    assert versions(new) == {"lib": "2", "lib-data": "2", "app": "2", "tool": "1"}
    assert list(changes(lock, new)) == [
        "~ base: lib 1 → 2",
        "~ base: lib-data 1 → 2",
        "~ services: app 1 → 2",
    ]


def test_one_package_is_updated_alone(bench: Bench) -> None:
    lock = bench.lock()
    release(bench.debs, "2")
    bench.debs.add("tool", "2")
    bench.debs.publish()
    new = bench.update(lock, "app")
    assert versions(new) == versions(lock) | {"app": "2"}
    assert bench.update(new, "app") is new


def test_packages_of_one_source_move_together(bench: Bench) -> None:
    lock = bench.lock()
    release(bench.debs, "2")
    bench.debs.publish()
    assert versions(bench.update(lock, "lib-data")) == versions(lock) | {
        "lib": "2",
        "lib-data": "2",
    }


def test_an_update_takes_what_the_package_needs_also_when_it_is_new(bench: Bench) -> None:
    lock = bench.lock()
    release(bench.debs, "2")
    bench.debs.add("app", "3", Depends="helper")
    bench.debs.add("helper", "1", Depends="lib (>= 2)")
    bench.debs.add("tool", "2")
    bench.debs.publish()
    new = versions(bench.update(lock, "app"))
    assert new == {"lib": "2", "lib-data": "2", "app": "3", "helper": "1", "tool": "1"}


def test_an_update_moves_what_would_break_otherwise(bench: Bench) -> None:
    bench.debs.add("plugin", "1", Depends="app (<< 2)")
    bench.debs.publish(date=datetime.now(UTC) - timedelta(minutes=30))
    bench.layers["extra"] = ("plugin",)
    lock = bench.lock()
    bench.debs.add("app", "2", Breaks="tool (<< 2)")
    bench.debs.add("plugin", "2", Depends="app (>= 2)")
    bench.debs.publish()
    new = versions(bench.update(lock, "app"))
    assert (new["app"], new["plugin"], new["lib"]) == ("2", "2", "1")


def test_security_takes_only_what_the_security_suite_has_newer(bench: Bench) -> None:
    bench.debs.add("lib", "0.9", SECURITY, Depends="lib-data (= 0.9)")
    bench.debs.publish(date=datetime.now(UTC) - timedelta(minutes=30))
    lock = bench.lock()
    assert versions(lock)["lib"] == "1"
    release(bench.debs, "3")
    bench.debs.add("lib", "1.1", SECURITY, Depends="lib-data (= 1.1)")
    bench.debs.add("lib-data", "1.1", SECURITY, Source="lib")
    bench.debs.publish()
    new = bench.update(lock, "security")
    assert versions(new) == {"lib": "1.1", "lib-data": "1.1", "app": "1", "tool": "1"}
    assert bench.update(new, "security") is new


def test_what_an_archive_has_dropped_stays_locked_while_it_can_be_had(bench: Bench) -> None:
    lock = bench.lock()
    bench.fetch(lock)
    bench.debs.drop("lib", "1")
    bench.debs.drop("lib-data", "1")
    release(bench.debs, "2")
    bench.debs.publish()
    new = bench.update(lock, "app")
    assert versions(new) == versions(lock) | {"app": "2"}
    assert new.sets["base"] == lock.sets["base"]
    bench.fetch(new)


def test_what_is_nowhere_any_more_can_only_move(bench: Bench) -> None:
    lock = bench.lock()
    bench.debs.drop("lib", "1")
    bench.debs.drop("lib-data", "1")
    release(bench.debs, "2")
    bench.debs.publish()
    assert versions(bench.update(lock, "tool")) == versions(lock) | {"lib": "2", "lib-data": "2"}


def test_a_spec_that_wants_more_leaves_the_rest_as_locked(bench: Bench) -> None:
    lock = bench.lock()
    release(bench.debs, "2")
    bench.debs.add("more", "1", Depends="lib")
    bench.debs.publish()
    bench.layers["extra"] = ("more",)
    new = bench.lock(lock, AS_LOCKED)
    assert versions(new) == versions(lock) | {"more": "1"}
    assert list(changes(lock, new)) == ["+ extra: more 1"]


def test_a_name_that_the_lock_lacks_is_told_with_the_nearest(bench: Bench) -> None:
    with pytest.raises(UsageError, match=r"--only tol.*\n.*did you mean tool"):
        bench.update(bench.lock(), "tol")
