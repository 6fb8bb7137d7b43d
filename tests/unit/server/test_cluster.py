"""When a cluster may be made, and what is refused."""

import os
from pathlib import Path

import pytest

from images.server import cluster
from images.server.state import ProgramError

GIB = 1024**3


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cluster would be; nothing is there yet, and this server never had one."""
    monkeypatch.setattr(cluster, "MARKER", tmp_path / "had-cluster")
    return tmp_path / "postgres/17/main"


def fill(home: Path, version: str = "17") -> None:
    home.mkdir(parents=True)
    (home / "PG_VERSION").write_text(f"{version}\n")


def test_nothing_there_is_no_cluster(home: Path) -> None:
    assert not cluster.exists(home, 17, os.getuid())
    home.mkdir(parents=True)
    assert not cluster.exists(home, 17, os.getuid())


def test_a_whole_cluster_is_kept(home: Path) -> None:
    fill(home)
    assert cluster.exists(home, 17, os.getuid())


def test_other_files_are_refused(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "photo.jpg").touch()
    with pytest.raises(ProgramError, match="no Postgres cluster"):
        cluster.exists(home, 17, os.getuid())


def test_another_version_is_refused(home: Path) -> None:
    fill(home, "16")
    with pytest.raises(ProgramError, match="of version 16"):
        cluster.exists(home, 17, os.getuid())


def test_another_owner_is_refused(home: Path) -> None:
    fill(home)
    with pytest.raises(ProgramError, match="account numbers"):
        cluster.exists(home, 17, os.getuid() + 1)


def test_only_permission_makes_a_first_cluster(home: Path) -> None:
    with pytest.raises(ProgramError, match="promote --first"):
        cluster.refuse_unless_first(home, may_init=False)
    cluster.refuse_unless_first(home, may_init=True)


def test_a_server_that_had_one_makes_none(home: Path) -> None:
    cluster.remember()
    with pytest.raises(ProgramError, match="is /data mounted"):
        cluster.refuse_unless_first(home, may_init=True)


def test_data_of_another_major_version_is_not_left_behind(home: Path) -> None:
    fill(home.parent.parent / "16/main", "16")
    with pytest.raises(ProgramError, match="another major version"):
        cluster.refuse_unless_first(home, may_init=True)


def test_initdb_makes_checksums_and_the_builtin_locale(home: Path) -> None:
    command = cluster.initdb(home, 17)
    assert command[0] == "/usr/lib/postgresql/17/bin/initdb"
    assert {"--data-checksums", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"} <= set(
        command
    )


@pytest.mark.parametrize(
    ("total", "buffers", "work"),
    [(GIB // 2, "128MB", "4MB"), (4 * GIB, "512MB", "8MB"), (256 * GIB, "8192MB", "32MB")],
)
def test_tuning_follows_the_memory(total: int, buffers: str, work: str) -> None:
    lines = cluster.tuning(total).splitlines()
    assert f"shared_buffers = {buffers}" in lines
    assert f"work_mem = {work}" in lines
