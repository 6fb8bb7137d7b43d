"""A backup into a local repository, and what can be read back from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.image.kit import Expected, Shell

REPOSITORY = "/var/tmp/bakehouse-probe"
PROGRAM = "PYTHONPATH= python3 -IB -m bakehouse.backup"
BORG = (
    "BORG_PASSCOMMAND='cat /run/bakehouse/secrets/borg_passphrase' BORG_BASE_DIR=/var/tmp"
    " BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=no borg"
)
MARKED = "/data/state/bakehouse-probe"


@pytest.fixture
def repository(sh: Shell, expect: Expected) -> Iterator[str]:
    """A repository with one archive, made by the program that the timer starts."""
    if not expect["borg"]:
        pytest.skip("the spec has no backups")
    sh(f"install -d -m 0700 /data/state && echo kept >{MARKED}")
    sh(f"{PROGRAM} create --repository {REPOSITORY}")
    yield REPOSITORY
    sh(f"rm -rf {REPOSITORY} {MARKED} /var/tmp/.cache/borg /var/tmp/.config/borg")


def test_backup_can_be_read_back(sh: Shell, expect: Expected, repository: str) -> None:
    archives = sh(f"{BORG} list --short {repository}").split()
    assert len(archives) == 1
    archive = f"{repository}::{archives[0]}"
    assert sh(f"{BORG} extract --stdout {archive} {MARKED.lstrip('/')}") == "kept\n"
    names = sh(f"{BORG} list --format '{{path}}{{NL}}' {archive}").splitlines()
    assert not any(name.startswith("data/postgres/") for name in names)
    for database in (expect["postgres"] or {"databases": []})["databases"]:
        dump = f"var/lib/bakehouse/dumps/{database['name']}.dump"
        assert dump in names
        listed = sh(f"{BORG} extract --stdout {archive} {dump} | pg_restore --list")
        assert f"dbname: {database['name']}" in listed
    sh(f"{PROGRAM} check --repository {repository}")


def test_a_throwaway_backs_nothing_up_by_itself(sh: Shell, expect: Expected) -> None:
    if not expect["borg"]:
        pytest.skip("the spec has no backups")
    sh("systemctl start bakehouse-backup.service")
    said = sh("journalctl --unit bakehouse-backup.service --output cat --no-pager")
    assert "nothing to do" in said
