"""A lock is enough: no network, no archive."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from images.archive import sources
from images.home import Home
from images.run import run
from specs.lock import dump
from specs.model import System
from tests.integration.lock.bench import OURS, Bench

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
