"""An app is shown folders of its own, and never what a link leads to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from images.server import release, volumes, watch_apps
from images.server.state import ProgramError

APP: dict[str, Any] = {"name": "shop", "volumes": ["uploads"], "image": "i", "release": ["migrate"]}
OURS = (os.getuid(), os.getgid())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`/data/apps` of the test's own."""
    place = Path(os.path.realpath(tmp_path)) / "apps"
    monkeypatch.setattr(volumes, "VOLUMES", place)
    return place


def test_a_volume_is_made_once(data: Path) -> None:
    volumes.make(APP, OURS)
    made = data / "shop/uploads"
    assert made.stat().st_mode & 0o777 == 0o750
    made.chmod(0o700)
    volumes.make(APP, OURS)
    assert made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("link", ["apps", "apps/shop", "apps/shop/uploads"])
@pytest.mark.parametrize("there", [True, False])
def test_a_volume_behind_a_link_is_refused(data: Path, link: str, there: bool) -> None:
    """Root on a server that is replaced could send `/data/apps/shop/uploads -> /`."""
    root, place = data.parent / "root", data.parent / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(root)
    if there:
        root.mkdir()
    with pytest.raises(ProgramError, match=r"shop: its volume .* by a link.* systemctl restart"):
        volumes.make(APP, OURS)
    assert root.exists() is there
    assert not there or not list(root.iterdir())


def test_a_volume_that_is_a_file_is_refused(data: Path) -> None:
    (data / "shop").mkdir(parents=True)
    (data / "shop/uploads").touch()
    with pytest.raises(ProgramError, match="is no folder"):
        volumes.make(APP, OURS)


def test_no_release_command_sees_what_a_link_leads_to(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "shop").mkdir(parents=True)
    (data / "shop/uploads").symlink_to("/")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(ProgramError, match="by a link"):
        release.run(APP)


def test_a_container_is_not_started_again_behind_a_link(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Docker follows it anew at each start, and the files are carried while the app runs."""
    (data / "shop").mkdir(parents=True)
    (data / "shop/uploads").mkdir()
    source = str(data / "shop/uploads")
    mounts = [{"Type": "bind", "Source": source}, {"Type": "volume", "Source": "/var/lib/x"}]
    item = {"Id": "1", "Names": ["/shop-1"], "Status": "Exited", "Mounts": mounts}
    asked: list[str] = []
    monkeypatch.setattr(watch_apps, "ended", lambda: [item])
    monkeypatch.setattr(watch_apps, "docker", lambda _, path: asked.append(path))
    watch_apps.look(watch_apps.Restarts())
    assert asked == ["/containers/1/start"]
    (data / "shop/uploads").rmdir()
    (data / "shop/uploads").symlink_to("/")
    watch_apps.look(watch_apps.Restarts())
    assert len(asked) == 1
    assert f"shop-1: not started, {source} is a link now" in capsys.readouterr().err
