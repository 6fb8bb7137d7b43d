"""What goes into an archive and what does not, and how Borg is called."""

import stat
from pathlib import Path
from typing import Any

import pytest

from images.server import backup
from images.server.state import ProgramError

FACTS: dict[str, Any] = {
    "name": "hobby",
    "postgres": {"version": 17},
    "data": {"paths": ["/data/files", "/srv/data"]},
}
BORG: dict[str, Any] = {"paths": ["/etc/hostname", "/data/apps"], "exclude": ["*.tmp"]}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Secrets in a folder of the test's own."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(backup, "SECRETS", tmp_path)
    return tmp_path


def test_all_of_data_is_archived_once() -> None:
    assert backup.archive_paths(FACTS, BORG) == [
        "/data",
        "/srv/data",
        "/etc/hostname",
        "/var/lib/bakehouse/dumps",
    ]
    assert backup.archive_paths({**FACTS, "postgres": None}, BORG)[-1] == "/etc/hostname"


def test_create_leaves_out_the_live_cluster_and_what_the_spec_says() -> None:
    command = backup.create_command("hobby", ["/data"], ["*.tmp"])
    assert "--exclude=pp:/data/postgres" in command
    assert "--exclude=*.tmp" in command
    assert command[-2:] == ["--", "/data"]
    assert command[-3].startswith("::hobby-2")


def test_prune_keeps_to_its_own_archives() -> None:
    command = backup.prune_command("hobby", {"daily": 7, "weekly": 4, "monthly": 6})
    assert command == [
        *("prune", "--list", "--glob-archives=hobby-????-??-??T??:??:??"),
        *("--keep-daily=7", "--keep-weekly=4", "--keep-monthly=6"),
    ]


def test_without_a_passphrase_nothing_is_written_in_the_clear(places: Path) -> None:
    (places / "borg_passphrase").write_text("\n")
    with pytest.raises(ProgramError, match="no passphrase"):
        backup.borg_environment("/mnt/backups", "hobby")


def test_the_passphrase_stays_in_its_file(places: Path) -> None:
    (places / "borg_passphrase").write_text("s3cret")
    environment = backup.borg_environment("/mnt/backups", "hobby")
    assert not any("s3cret" in value for value in environment.values())
    assert environment["BORG_PASSCOMMAND"] == f"cat {places}/borg_passphrase"
    assert " -i " not in environment["BORG_RSH"]


def test_an_ssh_key_is_the_only_identity(places: Path) -> None:
    (places / "borg_passphrase").write_text("s3cret")
    (places / "borg_ssh_key").write_text("key")
    rsh = backup.borg_environment("ssh://u@h/./b", "hobby")["BORG_RSH"]
    assert rsh.endswith(f"-o IdentitiesOnly=yes -i {places}/borg_ssh_key")
    assert "StrictHostKeyChecking=accept-new" in rsh


def test_a_credential_comes_before_the_delivered_file(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = places / "credentials"
    credentials.mkdir(mode=stat.S_IRWXU)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    (places / "borg_passphrase").write_text("delivered")
    assert backup.secret_file("borg_passphrase") == places / "borg_passphrase"
    (credentials / "borg_passphrase").write_text("credential")
    assert backup.secret_file("borg_passphrase") == credentials / "borg_passphrase"


@pytest.mark.parametrize(
    ("url", "suffix", "asked"),
    [
        ("https://ping.example/1", "", "https://ping.example/1"),
        ("https://ping.example/1", "/fail", "https://ping.example/1/fail"),
        ("https://ping.example/1/?a=b", "/start", "https://ping.example/1/start?a=b"),
    ],
)
def test_ping_keeps_the_query(url: str, suffix: str, asked: str) -> None:
    assert backup.ping_url(url, suffix) == asked
