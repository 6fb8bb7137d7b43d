"""The lock beside a spec: when a build takes it, and what a renewal tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from images.home import Home
from images.locking import Renewed, fitting_lock, lock_of
from images.progress import Progress
from images.recipe import prepare
from specs import packages
from specs.errors import UsageError
from specs.lock import Lock, LockedPackage, dump
from specs.model import App, Build, Docker, Spec, System, User

SPEC = Spec("web")
BASH = LockedPackage("bash", "1", "all", "debian", "pool/b.deb", "0" * 64, 5)
LOCK = Lock(
    epoch=0,
    release="trixie",
    architecture="amd64",
    sets={"base": (BASH,)},
    indexes={},
    uids=packages.numbers(SPEC),
    wanted=packages.layers(SPEC),
)


def test_a_lock_of_the_spec_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "web.lock").write_text(dump(LOCK))
    assert lock_of(SPEC, tmp_path / "web.yaml", Home(tmp_path), Progress()) == LOCK


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (replace(SPEC, system=System(packages=("htop",))), "extra also wants htop"),
        (
            replace(SPEC, apps=(App("shop", build=Build(("python3",))),), docker=Docker()),
            "app:shop also wants python3",
        ),
        (replace(SPEC, users=(User("jane", sudo=True),)), "no number for the account jane"),
    ],
)
def test_a_lock_of_another_spec_stops_everything_with_what_to_do(
    tmp_path: Path, spec: Spec, why: str
) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        prepare(spec, tmp_path / "web.yaml", LOCK)
    assert str(tmp_path / "web.lock") in caught.value.message
    assert "invoke lock" in caught.value.hint
    (tmp_path / "web.lock").write_text(dump(LOCK))
    assert fitting_lock(spec, tmp_path / "web.yaml") is None


def test_a_lock_that_is_no_text_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "web.lock").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UsageError, match=r"web\.lock: not a lock"):
        fitting_lock(SPEC, tmp_path / "web.yaml")


def test_a_lock_that_fits_needs_no_archive(tmp_path: Path) -> None:
    assert fitting_lock(SPEC, tmp_path / "web.yaml") is None
    (tmp_path / "web.lock").write_text(dump(LOCK))
    fitting = fitting_lock(SPEC, tmp_path / "web.yaml")
    assert fitting
    assert fitting.lines() == [f"{tmp_path}/web.lock: no change"]
    assert fitting.as_data() == {"ok": True, "changed": False, "changes": []}


def test_a_renewal_tells_what_changed() -> None:
    path = Path("web.lock")
    new = replace(LOCK, sets={"base": (replace(BASH, version="2", sha256="1" * 64),)})
    assert Renewed(None, LOCK, path).lines() == ["wrote web.lock: 1 packages"]
    assert Renewed(LOCK, LOCK, path).lines() == ["web.lock: no change"]
    data = {"ok": True, "changed": True, "changes": ["~ base: bash 1 → 2"]}
    assert Renewed(LOCK, new, path).as_data() == data
    assert Renewed(LOCK, new, path).lines() == ["~ base: bash 1 → 2", "wrote web.lock: 1 packages"]
