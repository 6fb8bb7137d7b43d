"""What a server says of its last backup to whoever asks what it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from images.server import holding, outcomes, preflight, state

LAST = {"at": 1_700_000_000, "ok": False, "why": "borg create ended with code 2"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server whose spec has backups."""
    said(tmp_path, {"repository": "/mnt/b"})
    boot = {"generation": 3, "image": "hobby-1", "hostname": "h"}
    (tmp_path / "boot.json").write_text(json.dumps(boot))
    (tmp_path / "boot_id").write_text("now")
    for name, path in (("ETC", tmp_path), ("DATA", tmp_path), ("BOOT_ID", tmp_path / "boot_id")):
        monkeypatch.setattr(state, name, path)
    monkeypatch.setattr(holding, "apps", list)
    monkeypatch.setattr(outcomes, "BACKUP", tmp_path / "backup.json")
    monkeypatch.setattr(outcomes, "CHECK", tmp_path / "check.json")
    return tmp_path


def said(folder: Path, borg: Any) -> None:
    """The facts of its spec."""
    facts = {"name": "hobby", "data": {"strategy": "none"}, "borg": borg}
    (folder / "server.json").write_text(json.dumps(facts))


def test_the_last_backup_is_told(server: Path) -> None:
    (server / "backup.json").write_text(json.dumps(LAST))
    assert preflight.plain()["backup"] == LAST


@pytest.mark.parametrize(("repository", "told"), [("/mnt/b", True), ("/mnt/earlier", False)])
def test_the_last_check_of_its_repository_is_told(
    server: Path, repository: str, told: bool
) -> None:
    check = {**LAST, "repository": repository}
    (server / "check.json").write_text(json.dumps(check))
    assert preflight.plain()["check"] == (check if told else None)


def test_before_the_first_backup_it_says_so(server: Path) -> None:
    assert preflight.plain()["backup"] is None
    assert preflight.plain()["check"] is None


def test_a_server_without_backups_does_not_speak_of_them(server: Path) -> None:
    (server / "backup.json").write_text(json.dumps(LAST))  # of a spec that had some
    said(server, None)
    assert not {"backup", "check"} & set(preflight.plain())


@pytest.mark.parametrize("damaged", ["", "{", "[1]"])
def test_a_damaged_record_makes_no_server_silent(server: Path, damaged: str) -> None:
    for name in ("backup", "check"):
        (server / f"{name}.json").write_text(damaged)
        assert preflight.plain()[name] is None
