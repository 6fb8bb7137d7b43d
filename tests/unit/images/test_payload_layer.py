"""Payloads as a layer: each where the bake would copy it, with one time."""

from __future__ import annotations

from pathlib import Path

from images.ovens.payloads import layer
from specs.plan import Payload

EPOCH = 1_700_000_000


def test_payloads_lie_at_their_targets_and_share_what_is_the_same(tmp_path: Path) -> None:
    folders = {}
    for name in ("one", "two"):
        blobs = tmp_path / name / "blobs"
        blobs.mkdir(parents=True)
        (blobs / "shared").write_text("the same")
        (tmp_path / name / f"{name}.json").write_text(name)
        folders[name] = tmp_path / name
    site = tmp_path / "site"
    (site / "empty").mkdir(parents=True)
    (site / "link").symlink_to("nowhere")
    folders["three"] = site
    wanted = [
        Payload("app/one", "one", "/usr/lib/images"),
        Payload("app/two", "two", "/usr/lib/images"),
        Payload("static/site", "three", "/srv/sites/site"),
    ]

    at = layer(wanted, folders, tmp_path / "layer", EPOCH)

    found = {str(path.relative_to(at)) for path in at.rglob("*")}
    assert found == {
        *("usr", "usr/lib", "usr/lib/images", "usr/lib/images/blobs"),
        *("usr/lib/images/blobs/shared", "usr/lib/images/one.json", "usr/lib/images/two.json"),
        *("srv", "srv/sites", "srv/sites/site", "srv/sites/site/empty", "srv/sites/site/link"),
    }
    assert (at / "srv/sites/site/link").readlink() == Path("nowhere")
    times = {path.lstat().st_mtime for path in (at, *at.rglob("*"))}
    sources = {path.lstat().st_mtime for path in tmp_path.glob("*/blobs/shared")}
    assert times | sources == {EPOCH}
