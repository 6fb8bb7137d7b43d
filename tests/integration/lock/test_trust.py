"""Whom a lock believes: archives tampered with in each way, and keys beside the spec."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from specs.model import System
from tests.integration.aptrepo import (
    SECURITY,
    SUITE,
    Archive,
    Signer,
    serving,
)
from tests.integration.lock.bench import Bench, failing, release


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
