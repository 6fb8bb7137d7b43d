"""Locks and packages from archives of our own: honest ones, nasty ones, and ones that moved on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from images import archive
from images.archive import AS_LOCKED, EVERYTHING, Scope, cached, parse_scope, sources
from images.archive.fetch import Places, bring
from images.archive.make import make_lock
from images.home import Home
from images.run import run, start
from specs.errors import BakehouseError, UsageError
from specs.lock import Lock, changes, dump, parse
from specs.model import Spec, System
from tests.integration.aptrepo import (
    SECURITY,
    SUITE,
    Archive,
    Signer,
    only_further,
    serving,
    signer,
)

Layers = dict[str, tuple[str, ...]]
OURS = {"PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    with signer(tmp_path_factory.mktemp("gpg") / "ours") as made:
        yield made


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    with signer(tmp_path_factory.mktemp("gpg") / "theirs") as made:
        yield made


@dataclass
class Bench:
    """A folder with a spec's keys, a home, one archive with its key, and what is asked of it."""

    folder: Path
    home: Home
    debs: Archive
    layers: Layers
    said: list[str]

    def lock(
        self,
        previous: Lock | None = None,
        how_far: Scope = EVERYTHING,
        system: System | None = None,
    ) -> Lock:
        spec = Spec("web", system=system or self.system())
        return make_lock(
            spec,
            self.folder,
            previous,
            self.home,
            self.said.append,
            how_far=how_far,
            archives=only_further,
            layers=lambda _: self.layers,
        )

    def system(self) -> System:
        return self.debs.system(*self.debs.suites)

    def update(self, previous: Lock, only: str) -> Lock:
        names = [package.name for package in previous.packages()]
        return self.lock(previous, parse_scope(only, names))

    def fetch(self, lock: Lock) -> None:
        """As a build does, from this archive alone."""
        places = Places({item.name: item.uri for item in self.system().repositories})
        missing = archive.cache.lacking(self.home, lock.packages())
        if missing:
            bring(missing, places, self.home, self.said.append)


@pytest.fixture
def bench(tmp_path: Path, key: Signer) -> Iterator[Bench]:
    """Two layers: `app` needs `lib`, `lib` its `lib-data` of the same version; `tool` is alone."""
    key.export(tmp_path / "spec/keys/ours.asc")
    with serving(Archive("extra", tmp_path / "archive", key)) as debs:
        release(debs, "1")
        debs.add("tool", "1")
        debs.publish(date=datetime.now(UTC) - timedelta(hours=1))
        layers: Layers = {"base": ("lib",), "services": ("app",), "extra": (), "tools": ("tool",)}
        yield Bench(tmp_path / "spec", Home(tmp_path / "home"), debs, layers, [])


def release(debs: Archive, version: str, suite: str = SUITE) -> None:
    """A release of the source `lib`, and of `app`, which is content with any."""
    debs.add("lib", version, suite, Depends=f"lib-data (= {version})")
    debs.add("lib-data", version, suite, Source="lib")
    debs.add("app", version, suite, Depends="lib (>= 1)")


def versions(lock: Lock) -> dict[str, str]:
    return {package.name: package.version for package in lock.packages()}


def failing(call: Callable[[], object]) -> BakehouseError:
    with pytest.raises(BakehouseError) as caught:
        call()
    return caught.value


# --- making a lock


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


# --- whom to believe


def test_a_tampered_list_of_packages_is_refused(bench: Bench) -> None:
    for name in ("Packages", "Packages.gz"):
        file = bench.debs.root / f"dists/{SUITE}/main/binary-amd64/{name}"
        file.write_bytes(file.read_bytes().replace(b"lib", b"lob")[::-1])
    error = failing(bench.lock)
    assert re.search(r"^extra trixie \(http.*\): the index is not the one that was", error.message)
    assert "tampered" in error.hint


def test_a_tampered_index_is_refused(bench: Bench) -> None:
    file = bench.debs.root / f"dists/{SUITE}/InRelease"
    file.write_text(file.read_text().replace("Components: main", "Components: evil"))
    assert "extra trixie" in failing(bench.lock).message
    assert "the signature of the index is not valid" in failing(bench.lock).message


def test_an_index_signed_by_another_key_is_refused(bench: Bench, other_key: Signer) -> None:
    bench.debs.publish(by=other_key)
    error = failing(bench.lock)
    assert "extra trixie" in error.message
    assert "signed by a key that the spec does not trust" in error.message
    assert "fingerprint" in error.hint


def test_an_unsigned_index_is_refused(bench: Bench) -> None:
    (bench.debs.root / f"dists/{SUITE}/InRelease").unlink()
    assert "extra trixie" in failing(bench.lock).message
    assert "the index is not signed" in failing(bench.lock).message


def test_a_signature_apart_from_its_index_counts_as_well(bench: Bench, key: Signer) -> None:
    top = bench.debs.root / f"dists/{SUITE}"
    (top / "InRelease").unlink()
    key.gpg("--armor", "--detach-sign", "--output", str(top / "Release.gpg"), str(top / "Release"))
    assert "extra trixie" in bench.lock().indexes


def test_an_expired_index_is_refused(bench: Bench) -> None:
    bench.debs.publish(date=datetime.now(UTC) - timedelta(days=9))
    error = failing(bench.lock)
    assert "extra trixie" in error.message
    assert "the index has expired" in error.message
    assert "clock" in error.hint


def test_an_index_from_the_future_is_refused(bench: Bench) -> None:
    bench.debs.publish(date=datetime.now(UTC) + timedelta(days=2))
    assert "the index is from the future" in failing(bench.lock).message


def test_each_index_is_held_against_its_own_date(bench: Bench) -> None:
    """A newer security index must not hide that the other has gone back."""
    release(bench.debs, "1", SECURITY)
    bench.debs.publish(date=datetime.now(UTC) - timedelta(hours=2))
    lock = bench.lock()
    bench.debs.publish(date=datetime.now(UTC) - timedelta(hours=3))
    security = bench.debs.suites[SECURITY]
    bench.debs.suites = {SECURITY: security}
    bench.debs.publish()
    bench.debs.suites[SUITE] = []
    error = failing(lambda: bench.lock(lock))
    assert re.match(r"extra trixie .*older than the lock's of", error.message)
    assert "holding updates back" in error.hint


def test_another_suites_index_is_refused(bench: Bench) -> None:
    """A mirror that answers for the security suite with another, validly signed index."""
    bench.debs.publish(called={SUITE: "bookworm"})
    assert "the index is of another suite, bookworm" in failing(bench.lock).message


def test_a_missing_suite_is_refused(bench: Bench) -> None:
    shutil.rmtree(bench.debs.root / "dists" / SUITE)
    error = failing(bench.lock)
    assert "extra trixie" in error.message
    assert "there is no such suite" in error.message


def test_an_archive_that_cannot_be_reached_is_told(bench: Bench) -> None:
    bench.debs.uri = "http://127.0.0.1:9"
    error = failing(bench.lock)
    assert "extra trixie (http://127.0.0.1:9): the archive cannot be reached" in error.message
    assert "network" in error.hint
    assert not list(bench.home.work.iterdir())


def test_each_archive_is_believed_by_its_own_key_and_the_highest_version_wins(
    bench: Bench, other_key: Signer, tmp_path: Path
) -> None:
    other_key.export(bench.folder / "keys/theirs.asc")
    with serving(Archive("other", tmp_path / "second", other_key)) as second:
        second.add("tool", "3")
        second.add("lib", "0.1")
        second.publish()
        both = (bench.debs.repository(), second.repository())
        lock = bench.lock(system=System(repositories=both))
        assert [(p.version, p.archive) for p in lock.sets["tools"]] == [("3", "other")]
        assert {p.archive for p in lock.sets["base"]} == {"extra"}
        assert list(lock.indexes) == ["extra trixie", "other trixie"]
        second.publish(by=bench.debs.signer)
        error = failing(lambda: bench.lock(system=System(repositories=both)))
    assert re.match(r"other trixie \(\S+\): the index is signed by a key that", error.message)
    assert "extra" not in error.message


# --- the key beside the spec


def test_a_key_file_must_hold_the_pinned_key_and_no_other(
    bench: Bench, key: Signer, other_key: Signer
) -> None:
    file = bench.folder / "keys/ours.asc"
    other_key.export(file)
    error = failing(bench.lock)
    assert f"holds the key {other_key.fingerprint}, but the spec pins {key.fingerprint}" in str(
        error
    )
    file.write_text(key.export(bench.folder / "a").read_text() + file.read_text())
    assert "holds 2 keys" in failing(bench.lock).message
    key.export(file, secret=True)
    assert "holds a private key" in failing(bench.lock).message
    file.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd\n-----END PGP")
    assert "is not an OpenPGP public key" in failing(bench.lock).message


def test_a_binary_key_file_does_as_well(bench: Bench, key: Signer) -> None:
    key.gpg("--output", str(bench.folder / "keys/ours.asc"), "--export")
    assert bench.lock().packages()


# --- updates


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


# --- fetching


def test_a_tampered_package_never_enters_the_cache(bench: Bench) -> None:
    lock = bench.lock()
    tool = lock.sets["tools"][0]
    file = bench.debs.root / tool.path
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    error = failing(lambda: bench.fetch(lock))
    assert "  tool 1 (extra): another file is there" in error.message
    assert "invoke update" in error.hint
    assert not cached(bench.home, tool).exists()
    assert cached(bench.home, lock.sets["base"][0]).exists()


def test_dropped_packages_are_all_named(bench: Bench) -> None:
    lock = bench.lock()
    bench.debs.drop("app", "1")
    bench.debs.drop("tool", "1")
    error = failing(lambda: bench.fetch(lock))
    assert error.message.splitlines() == [
        "2 locked packages cannot be had:",
        "  app 1 (extra): not there any more",
        "  tool 1 (extra): not there any more",
    ]
    assert "run `invoke update`" in error.hint


def test_the_snapshot_archive_has_what_the_archive_dropped(bench: Bench, tmp_path: Path) -> None:
    lock = bench.lock()
    tool = lock.sets["tools"][0]
    date = datetime.fromtimestamp(lock.epoch, UTC).strftime("%Y%m%dT%H%M%SZ")
    (bench.debs.root / f"old/extra/{date}").mkdir(parents=True)
    old = shutil.move(bench.debs.root / "pool", bench.debs.root / f"old/extra/{date}/pool")
    pattern = f"{bench.debs.uri}/old/{{archive}}/{{date}}/{{path}}"
    places = Places({"extra": bench.debs.uri}, pattern, lock.epoch)
    bring(lock.packages(), places, bench.home, bench.said.append)
    assert cached(bench.home, tool).exists()
    assert bench.said[-2:] == [
        "asking the snapshot archive for 4 packages",
        f"fetched 4 of 4 packages, {sum(p.size for p in lock.packages()) / 1e6:.1f} MB",
    ]
    shutil.rmtree(old)
    elsewhere = replace(bench, home=Home(tmp_path / "elsewhere"))
    error = failing(lambda: bring([tool], places, elsewhere.home, bench.said.append))
    assert "tool 1 (extra): not there any more; the snapshot archive: not there" in error.message


def test_a_corrupt_cache_entry_is_fetched_again(bench: Bench) -> None:
    lock = bench.lock()
    bench.fetch(lock)
    tool = lock.sets["tools"][0]
    whole = cached(bench.home, tool).read_bytes()
    cached(bench.home, tool).write_bytes(bytes(len(whole)))
    bench.debs.asked.clear()
    bench.fetch(lock)
    assert cached(bench.home, tool).read_bytes() == whole
    assert dict(bench.debs.asked) == {tool.path: 1}


def test_a_failure_that_passes_is_tried_again(bench: Bench) -> None:
    lock = bench.lock()
    tool = lock.sets["tools"][0]
    bench.debs.failing[tool.path] = 1
    bench.fetch(lock)
    assert cached(bench.home, tool).exists()


def test_without_a_network_the_hint_is_the_network(bench: Bench) -> None:
    lock = bench.lock()
    bench.debs.uri = "http://127.0.0.1:9"
    error = failing(lambda: bench.fetch(lock))
    assert "tool 1 (extra): cannot be reached" in error.message
    assert "check the network" in error.hint


FETCH = """
import sys
from pathlib import Path
from images.archive.cache import lacking
from images.archive.fetch import Places, bring
from images.home import Home
from specs.lock import parse
lock, home, uri = parse(Path(sys.argv[1]).read_text(), "x"), Home(Path(sys.argv[2])), sys.argv[3]
bring(lock.packages(), Places({"extra": uri}), home, lambda line: None)
print(len(lacking(home, lock.packages())))
"""


@pytest.mark.root
def test_processes_that_fetch_at_once_do_not_disturb_each_other(
    bench: Bench, tmp_path: Path
) -> None:
    """Each in a process namespace of its own, as builds are, so that their numbers are the same."""
    lock = bench.lock()
    file = tmp_path / "web.lock"
    file.write_text(dump(lock))
    alone = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", FETCH]
    command = [*alone, str(file), str(bench.home.root), bench.debs.uri]
    script = " & ".join(['"$@"'] * 4)
    result = run(["sh", "-c", f"{script} & wait", "sh", *command], env=OURS)
    assert result.stdout.split() == ["0"] * 4
    assert not list(bench.home.work.iterdir())


@pytest.mark.root
def test_a_killed_download_leaves_nothing_that_is_taken_for_whole(
    bench: Bench, tmp_path: Path
) -> None:
    lock = bench.lock()
    file, tool = tmp_path / "web.lock", lock.sets["tools"][0]
    file.write_text(dump(lock))
    bench.debs.stalling = tool.path
    alone = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", FETCH]
    command = [*alone, str(file), str(bench.home.root), bench.debs.uri]
    process = start(command, output=tmp_path / "log", env=OURS)
    assert bench.debs.stalled.wait(60), (tmp_path / "log").read_text()
    os.kill(process.pid, signal.SIGKILL)
    process.stop()
    assert tool in archive.cache.lacking(bench.home, lock.packages())
    bench.debs.stalling = ""
    bench.debs.going_on.set()
    bench.fetch(lock)
    assert not archive.cache.lacking(bench.home, lock.packages())


# --- building from a lock


OFFLINE = """
import sys
from pathlib import Path
from images import archive
from images.home import Home
from images.ovens import repository
from specs.lock import parse
from specs.model import System
lock, home = parse(Path(sys.argv[1]).read_text(), "x"), Home(Path(sys.argv[2]))
archive.fetch(System(), lock, home, print)
repository.make(home, lock.image_packages(), lock.release, Path(sys.argv[3]))
"""


@pytest.mark.root
def test_a_locked_set_installs_with_the_network_cut_and_its_archive_gone(
    bench: Bench, tmp_path: Path
) -> None:
    lock = bench.lock()
    bench.fetch(lock)
    for package in lock.packages():
        bench.debs.drop(package.name, package.version)
    bench.debs.publish()
    file, repo, tree = tmp_path / "web.lock", tmp_path / "repo", tmp_path / "tree"
    file.write_text(dump(lock))
    cut = ["unshare", "--net"]
    ours = [sys.executable, "-c", OFFLINE, str(file), str(bench.home.root), str(repo)]
    assert run([*cut, *ours], env=OURS).stdout == ""
    install = ["mmdebstrap", "--quiet", "--variant=extract", "--include=app", "--mode=root"]
    install += ["--skip=chroot/mount", lock.release, str(tree), f"deb [trusted=yes] copy:{repo} ./"]
    run([*cut, *install])
    found = {path.name: path.read_text() for path in (tree / "usr/share/bakehouse-test").iterdir()}
    assert found == {name: f"{name} 1\n" for name in ("app", "lib", "lib-data")}


@pytest.mark.root
def test_debians_own_archives_are_three_suites_and_mirrors_stand_in(tmp_path: Path) -> None:
    home = Home(tmp_path)
    system = System(mirror="http://mirror.test/debian/", security_mirror="http://sec.test/s")
    own, mirrored = sources.debian(System(), home), sources.debian(system, home)
    names = ["debian trixie", "debian trixie-updates", "debian-security trixie-security"]
    assert [source.index for source in own] == names
    assert [source.index for source in mirrored] == names
    assert [source.uri for source in mirrored[:2]] == ["http://mirror.test/debian"] * 2
    assert mirrored[2].uri == "http://sec.test/s"
    assert {source.key for source in mirrored} == {sources.DEBIAN_KEYS.read_bytes()}
    assert sources.debian(replace(system, security_mirror=""), home)[2].uri == own[2].uri
