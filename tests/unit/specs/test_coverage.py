"""A lock is of a spec only while it was resolved from what the spec wants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from specs import coverage, packages
from specs.lock import Lock
from specs.model import App, Caddy, Spec, System, User

DIGEST = "sha256:" + "a" * 64
SPEC = Spec("web", apps=(App("shop", image=f"shop@{DIGEST}"), App("blog", archive="blog.tar")))


def lock(spec: Spec, folder: Path) -> Lock:
    return Lock(
        0,
        "trixie",
        "amd64",
        {},
        {},
        uids=packages.numbers(spec),
        wanted=packages.layers(spec),
        images=coverage.images(spec, folder),
    )


def test_images_are_known_by_their_digest(tmp_path: Path) -> None:
    (tmp_path / "blog.tar").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert coverage.images(SPEC, tmp_path) == {"shop": DIGEST, "blog": f"sha256:{empty}"}


def test_a_lock_fits_the_spec_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "blog.tar").write_bytes(b"")
    assert not list(coverage.differences(SPEC, tmp_path, lock(SPEC, tmp_path)))


def test_every_difference_is_told(tmp_path: Path) -> None:
    (tmp_path / "blog.tar").write_bytes(b"")
    made = replace(lock(SPEC, tmp_path), release="bookworm")
    (tmp_path / "blog.tar").write_bytes(b"new")
    other = replace(
        SPEC,
        system=System(packages=("htop", "jq")),
        users=(User("anna"),),
        apps=SPEC.apps[1:],
        caddy=Caddy(),
    )
    before = replace(made, wanted={**made.wanted, "app:old": ("python3",)})
    assert list(coverage.differences(other, tmp_path, before)) == [
        "it is of bookworm on amd64",
        "services also wants caddy",
        "extra also wants htop, jq",
        "app:old no longer wants python3",
        "the image of blog is another",
        "the image of shop is another",
        "it has no number for the account anna",
    ]
