"""Digests of what a spec names: they change with what shapes the image, and with nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from specs.errors import BakehouseError, UsageError
from specs.facts import Gathered, folder_digest, gather, slug
from specs.lock import Lock, LockedPackage
from specs.model import App, Build, Caddy, Site, Spec

IMAGE = f"example.org/x@sha256:{'a' * 64}"
PACKAGE = LockedPackage("python3", "3.13", "all", "debian", "pool/p.deb", "1" * 64, 10)
LOCK = Lock(1, "trixie", "amd64", {"core": (), "app:shop": (PACKAGE,)}, {}, {})
SHOP = App("shop", build=Build(("python3",), "shop"), command=("python3", "app.py"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A spec's folder with an app's folder in it."""
    folder = tmp_path / "shop"
    (folder / "static").mkdir(parents=True)
    (folder / "app.py").write_text("print()\n")
    (folder / "static/x.css").write_text("x\n")
    (folder / "link").symlink_to("static/x.css")
    return tmp_path


def _sha(gathered: Gathered, name: str) -> str:
    return next(payload.sha256 for payload in gathered.payloads if payload.name == name)


def _app(app: App, folder: Path, lock: Lock | None = LOCK) -> str:
    return _sha(gather(Spec("web", apps=(app,)), folder, lock), f"app/{app.name}")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "app.py").write_text("print(1)\n"),
        lambda root: (root / "app.py").rename(root / "main.py"),
        lambda root: (root / "app.py").chmod(0o755),
        lambda root: (root / "new").mkdir(),
        lambda root: (root / "link").unlink(),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("app.py")),
    ],
    ids=["content", "name", "program", "folder", "gone", "link"],
)
def test_content_changes_the_digest(shop: Path, change: Callable[[Path], object]) -> None:
    before = _app(SHOP, shop)
    change(shop / "shop")
    assert _app(SHOP, shop) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: os.utime(root / "app.py", (1, 1)),
        lambda root: (root / "app.py").chmod(0o600),
        lambda root: (root / "__pycache__").mkdir(),
        lambda root: (root / "app.pyc").write_bytes(b"x"),
        lambda root: ((root / ".git").mkdir(), (root / ".git/HEAD").write_text("x")),
    ],
    ids=["time", "mode", "cache", "pyc", "git"],
)
def test_what_does_not_travel_does_not_count(shop: Path, change: Callable[[Path], object]) -> None:
    before = _app(SHOP, shop)
    change(shop / "shop")
    assert _app(SHOP, shop) == before


def test_what_shapes_a_built_image_counts(shop: Path) -> None:
    newer = replace(PACKAGE, sha256="2" * 64)
    different = {
        _app(SHOP, shop),
        _app(SHOP, shop, None),
        _app(SHOP, shop, replace(LOCK, sets={"core": (), "app:shop": (newer,)})),
        _app(SHOP, shop, replace(LOCK, epoch=2)),
        _app(replace(SHOP, command=("python3",)), shop),
        _app(replace(SHOP, user="1000"), shop),
    }
    assert len(different) == 6


def test_what_only_runs_differently_does_not(shop: Path) -> None:
    other = replace(SHOP, replicas=3, port=80, environment={"A": "b"}, memory="1g")
    assert _app(other, shop) == _app(SHOP, shop)


def test_apps_of_one_image_have_payloads_of_their_own(tmp_path: Path) -> None:
    apps = (App("one", image=IMAGE), App("two", image=IMAGE))
    found = gather(Spec("web", apps=apps), tmp_path, None)
    assert _sha(found, "app/one") != _sha(found, "app/two")
    assert found.sources == {}


def test_an_archive_counts_by_its_content(tmp_path: Path) -> None:
    app = App("shop", archive="shop.tar")
    (tmp_path / "shop.tar").write_bytes(b"one")
    before = gather(Spec("web", apps=(app,)), tmp_path, None)
    assert before.sources == {_sha(before, "app/shop"): tmp_path / "shop.tar"}
    (tmp_path / "shop.tar").write_bytes(b"two")
    assert _app(app, tmp_path) != _sha(before, "app/shop")


def test_sites_of_one_folder_have_targets_of_their_own(shop: Path) -> None:
    sites = (Site("a.example.org", static="shop"), Site(":80", static="shop"))
    found = gather(Spec("web", caddy=Caddy(sites=sites)), shop, None)
    assert [payload.target for payload in found.payloads] == [
        "/srv/sites/port_80",
        "/srv/sites/a.example.org",
    ]
    assert len(found.sources) == 1


def test_slugs_differ_where_addresses_do() -> None:
    addresses = ["example.org", "http://example.org", ":80", "http-example.org", "port-80"]
    slugs = {slug(address) for address in addresses}
    assert len(slugs) == len(addresses)
    assert not any("/" in name or ":" in name for name in slugs)


def test_the_name_of_the_acme_root_counts(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("x")
    (tmp_path / "b.pem").write_text("x")
    one, two = (
        gather(Spec("web", caddy=Caddy(acme_root=name)), tmp_path, None).payloads
        for name in ("a.pem", "b.pem")
    )
    assert one != two


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "static/../../secret"])
def test_links_that_lead_out_are_refused(shop: Path, target: str) -> None:
    (shop / "secret").write_text("x")
    (shop / "shop/out").symlink_to(target)
    with pytest.raises(BakehouseError, match="leads out of"):
        folder_digest(shop / "shop")


def test_pipes_and_sockets_are_refused(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(shop / "shop/pipe")
    with pytest.raises(BakehouseError, match="neither a file nor a folder"):
        folder_digest(shop / "shop")
    (shop / "shop/pipe").unlink()
    monkeypatch.chdir(shop / "shop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(BakehouseError, match="neither a file nor a folder"):
            folder_digest(shop / "shop")


def test_what_vanished_since_validation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder shop"):
        gather(Spec("web", apps=(SHOP,)), tmp_path, LOCK)
