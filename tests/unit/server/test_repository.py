"""When a repository is made, and when one that had backups is missed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images.server import backup, repository, state
from images.server.state import ProgramError

HERE = "ssh://u@h/./b"


class Borg:
    """Answers as Borg, where there are the repositories `there`, and knows what it was told.

    `absent` is how `borg info` ends for another one.
    """

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.told: list[str] = []
        self.absent = 13

    def ended(self, command: list[str], environment: dict[str, str], **_: Any) -> tuple[int, str]:
        verb, location = command[1], environment["BORG_REPO"]
        self.told.append(verb)
        if verb == "init":
            self.there.add(location)
        return (0, "") if location in self.there else (self.absent, "no such repository")


@pytest.fixture
def borg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Borg:
    """A Borg, and a server's folders."""
    found = Borg()
    (tmp_path / "data").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/borg_passphrase").write_text("s3cret")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(repository, "ended", found.ended)
    monkeypatch.setattr(repository, "REPOSITORIES", tmp_path / "repositories.json")
    monkeypatch.setattr(repository, "SECRETS", tmp_path / "secrets")
    monkeypatch.setattr(state, "DATA", tmp_path / "data")
    monkeypatch.setattr(state, "role", lambda: "primary")
    return found


def create(location: str = HERE, copy: str = "") -> None:
    """A backup of a server whose spec names `location`; a copy elsewhere when `copy` does."""
    section: dict[str, Any] = {
        "repository": location,
        "paths": [],
        "exclude": [],
        "keep": {"daily": 7},
    }
    facts: dict[str, Any] = {
        "name": "hobby",
        "postgres": None,
        "data": {"paths": []},
        "borg": section,
    }
    backup.create(facts, {**section, "repository": copy or location})


def test_a_new_repository_is_made(borg: Borg) -> None:
    create()
    create()
    assert borg.told == [
        *("info", "init", "create", "prune", "compact"),
        *("info", "create", "prune", "compact"),
    ]


@pytest.mark.parametrize("code", sorted(repository.MISSING))
def test_a_repository_that_had_backups_is_not_made_anew(borg: Borg, code: int) -> None:
    """Its host may have started without the disk that it is on."""
    create()
    borg.there.clear()
    borg.told.clear()
    borg.absent = code
    with pytest.raises(ProgramError, match="that had backups until 2") as failure:
        create()
    assert HERE in str(failure.value)
    assert f"remove {repository.REPOSITORIES}" in str(failure.value)
    assert borg.told == ["info"]
    borg.there.add(HERE)
    create()


def test_one_that_is_begun_anew_on_purpose_is_made(borg: Borg) -> None:
    create()
    borg.there.clear()
    repository.REPOSITORIES.unlink()
    create()
    assert borg.there == {HERE}


def test_another_place_is_another_repository(borg: Borg) -> None:
    """And the earlier one is still missed when the spec goes back to it."""
    create()
    create("/mnt/b")
    assert borg.there == {HERE, "/mnt/b"}
    borg.there.remove(HERE)
    with pytest.raises(ProgramError, match="is gone"):
        create()


def test_a_copy_is_not_missed(borg: Borg) -> None:
    create(copy="/mnt/disk/copy")
    borg.there.clear()
    create(copy="/mnt/disk/copy")
    assert borg.there == {"/mnt/disk/copy"}


def test_an_archive_that_lacks_a_path_is_one(borg: Borg) -> None:
    section: dict[str, Any] = {
        "repository": HERE,
        "paths": ["/srv/nowhere"],
        "exclude": [],
        "keep": {},
    }
    facts: dict[str, Any] = {
        "name": "hobby",
        "postgres": None,
        "data": {"paths": []},
        "borg": section,
    }
    with pytest.raises(ProgramError, match="without what is not there"):
        backup.create(facts, section)
    borg.there.clear()
    with pytest.raises(ProgramError, match="is gone"):
        backup.create(facts, section)


def test_a_record_that_cannot_be_written_fails_no_backup(
    borg: Borg, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repository, "REPOSITORIES", Path("/nowhere/repositories.json"))
    create()
    assert borg.told[-1] == "compact"
    assert "<4>" in capsys.readouterr().err


def test_a_damaged_record_lets_no_repository_be_made(borg: Borg) -> None:
    repository.REPOSITORIES.write_text("{")
    with pytest.raises(ProgramError, match="is damaged"):
        create()
    assert borg.told == ["info"]


def test_when_it_last_got_an_archive_is_known(borg: Borg) -> None:
    create()
    assert set(json.loads(repository.REPOSITORIES.read_text())) == {HERE}
    assert repository.remembered()[HERE] > 1_700_000_000
