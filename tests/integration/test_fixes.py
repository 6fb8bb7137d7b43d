"""What an update fixes is read out of real packages in the cache."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from images.archive import cached
from images.fixes import fixes
from images.home import Home
from images.run import run
from specs.lock import Lock, LockedPackage

ENTRY = "shop ({version}) trixie-security; urgency=high\n\n  * {text}\n\n -- A <a@b.c>  {date}\n\n"
DATE = "Mon, 09 Nov 2026 22:44:33 +0100"
OLD = ENTRY.format(version="1.0-1", text="CVE-2025-1000", date=DATE)
NEW = ENTRY.format(version="1.0-2", text="CVE-2026-2000", date=DATE) + OLD


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def made(home: Home, name: str, version: str, changelog: str, source: str = "") -> LockedPackage:
    """A package in the cache; without a changelog its documentation is another's."""
    tree = home.root.parent / f"{name}-{version}"
    doc = tree / "usr/share/doc"
    doc.mkdir(parents=True)
    (tree / "DEBIAN").mkdir()
    fields = [f"Package: {name}", f"Version: {version}", "Architecture: all"]
    fields += [f"Source: {source}"] if source else []
    fields += ["Maintainer: A <a@b.c>", "Description: a test"]
    (tree / "DEBIAN/control").write_text("\n".join(fields) + "\n")
    if changelog:
        (doc / name).mkdir()
        (doc / name / "changelog.Debian.gz").write_bytes(gzip.compress(changelog.encode()))
    else:
        (doc / name).symlink_to("other")
    deb = tree.with_suffix(".deb")
    run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)])
    sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
    package = LockedPackage(name, version, "all", "debian", "x", sha256, deb.stat().st_size)
    cached(home, package).parent.mkdir(parents=True, exist_ok=True)
    deb.rename(cached(home, package))
    return package


def lock_of(*packages: LockedPackage) -> Lock:
    return Lock(0, "trixie", "amd64", {"core": (), "base": packages}, {}, {})


def test_packages_of_one_source_share_its_changelog(home: Home) -> None:
    before = [made(home, "shop", "1.0-1", OLD), made(home, "libshop", "1.0-1", "", "shop")]
    after = [made(home, "shop", "1.0-2", NEW), made(home, "libshop", "1.0-2", "", "shop")]
    found = fixes(home, lock_of(*before), lock_of(*after))
    assert found.ids == {"shop": ("CVE-2026-2000",), "libshop": ("CVE-2026-2000",)}
    assert found.unread == ()


def test_a_package_under_a_new_name_is_known_by_its_source(home: Home) -> None:
    before = made(home, "shop-1", "1.0-1", OLD, "shop")
    after = made(home, "shop-2", "1.0-2", NEW, "shop")
    assert fixes(home, lock_of(before), lock_of(after)).ids == {"shop-2": ("CVE-2026-2000",)}


def test_going_back_fixes_nothing(home: Home) -> None:
    before, after = made(home, "shop", "1.0-2", NEW), made(home, "shop", "1.0-1", OLD)
    assert fixes(home, lock_of(before), lock_of(after)).ids == {}


def test_an_old_package_that_left_the_cache_is_taken_by_its_version(home: Home) -> None:
    before, after = made(home, "shop", "1.0-1", OLD), made(home, "shop", "1.0-2", NEW)
    cached(home, before).unlink()
    assert fixes(home, lock_of(before), lock_of(after)).ids == {"shop": ("CVE-2026-2000",)}


def test_what_cannot_be_asked_is_said(home: Home) -> None:
    before, after = made(home, "shop", "1.0-1", OLD), made(home, "shop", "1.0-2", "")
    assert fixes(home, lock_of(before), lock_of(after)).unread == ("shop",)
    cached(home, after).unlink()
    assert fixes(home, lock_of(before), lock_of(after)).unread == ("shop",)
