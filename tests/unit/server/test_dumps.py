"""Every database gets into the backups, whatever its owner made of it, and the disk has room."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images.server import dumps, outcomes, state
from images.server.state import ProgramError

GIB = 1 << 30


def disk(free: int, size: int, root_only: int = 0) -> os.statvfs_result:
    """A file system with so many bytes for everybody, and more that only root may use."""
    blocks = (size // 4096, (free + root_only) // 4096, free // 4096)
    return os.statvfs_result((4096, 4096, *blocks, 0, 0, 0, 0, 255))


def test_a_dump_leaves_postgres_room() -> None:
    assert dumps.floor(8 * GIB) == GIB
    assert dumps.floor(100 * GIB) == 5 * GIB
    assert dumps.full(disk(GIB, 8 * GIB), 7, 0) == ""
    assert dumps.full(disk(5 * GIB, 100 * GIB), 7, 0) == ""
    why = dumps.full(disk(5 * GIB - 4096, 100 * GIB, 9 * GIB), 30 * GIB, 2 * GIB)
    for figure in ("which have 30.0 GiB", "with 2.0 GiB of dumps", "5.0 GiB were free", "larger"):
        assert figure in why
    assert outcomes.outcome(1.0, why) == outcomes.outcome(1.0, why + "\n")
    assert len(why) < outcomes.SHOWN


def test_the_dumps_so_far_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "DUMPS", tmp_path)
    assert dumps.made() == 0
    (tmp_path / "a.dump").write_bytes(b"1234")
    (tmp_path / "b.dump").write_bytes(b"567")
    assert dumps.made() == 7


@pytest.mark.parametrize(("watching", "begun"), [(True, 0), (False, 3)])
def test_no_dump_begins_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watching: bool, begun: int
) -> None:
    """But on a throwaway's, which is as small as it can be."""
    commands: list[list[str]] = []
    monkeypatch.setattr(dumps, "DUMPS", tmp_path / "dumps")
    monkeypatch.setattr(dumps, "LEAST", 1 << 80)
    monkeypatch.setattr(state, "psql", postgres("t|UTF8|guestbook", "t|UTF8|a/b"))

    def ended(command: list[str], *_: Any, **__: Any) -> tuple[int, str]:
        commands.append(command)
        return 0, ""

    monkeypatch.setattr(dumps, "ended", ended)
    try:
        with dumps.dumps(DECLARED, watching=watching) as lacking:
            assert lacking == []
            assert (tmp_path / "dumps").is_dir()
            assert not watching
    except ProgramError as error:
        assert watching
        assert "no room to dump the databases" in str(error)
    assert len(commands) == begun
    assert not (tmp_path / "dumps").exists()


def test_a_command_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "ended", lambda *_, **__: (1, "no such database\n"))
    why = dumps.failure(["/usr/bin/pg_dump"], 17, lambda: None)
    assert why == "pg_dump failed: no such database"
    monkeypatch.setattr(dumps, "ended", lambda *_, **__: (1, "LOCK TABLE a, " * 99999))
    assert len(dumps.failure(["/usr/bin/pg_dump"], 17, lambda: None)) < outcomes.SHOWN


def postgres(*rows: str) -> Callable[..., str]:
    """In the place of psql: what it says of these databases."""
    return lambda _, query: "12\n" if "size" in query else "".join(f"{row}\n" for row in rows)


class Dumping:
    """Dumps by programs that write half a file each, and of which some fail."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, *rows: str) -> None:
        self.failing: set[str] = set()
        self.ran: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.made: list[str] = []
        patch.setattr(dumps, "DUMPS", folder / "dumps")
        patch.setattr(dumps, "ended", self.ended)
        patch.setattr(state, "psql", postgres(*rows))

    def ended(self, command: list[str], environment: dict[str, str], **_: Any) -> tuple[int, str]:
        self.ran.append(command)
        self.environments.append(environment)
        (file,) = (word.partition("=")[2] for word in command if word.startswith("--file="))
        Path(file).write_text("half")
        failed = Path(file).stem in self.failing
        return (1, "canceling statement due to statement timeout") if failed else (0, "")

    def run(self) -> list[str]:
        with dumps.dumps(DECLARED, watching=False) as lacking:
            self.made = sorted(path.name for path in dumps.DUMPS.iterdir())
            return lacking


DECLARED: dict[str, Any] = {"version": 17, "databases": [{"name": "guestbook"}]}


def test_a_database_that_cannot_be_dumped_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its half of a dump is no dump; nobody may take it for one."""
    dumping = Dumping(tmp_path, monkeypatch, "t|UTF8|guestbook", "t|UTF8|postgres", "t|LATIN1|z")
    dumping.failing = {"guestbook"}
    (why,) = dumping.run()
    assert why == "guestbook: pg_dump failed: canceling statement due to statement timeout"
    assert dumping.made == ["globals.sql", "postgres.dump", "z.dump"]
    assert "--encoding=LATIN1" in dumping.ran[2]
    assert not dumps.DUMPS.exists()


def test_a_dump_has_our_settings_and_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping = Dumping(tmp_path, monkeypatch, "t|UTF8|guestbook")
    assert dumping.run() == []
    assert "--lock-wait-timeout=600000" in dumping.ran[0]
    assert "-c default_transaction_read_only=off" in dumping.environments[0]["PGOPTIONS"]

    def refuse(*_: object) -> str:
        raise ProgramError("Postgres refused")

    monkeypatch.setattr(state, "psql", refuse)
    dumps.end_waiting(17)  # the dump itself tells


def test_a_declared_database_that_is_away_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dumping = Dumping(tmp_path, monkeypatch, "t|UTF8|postgres", "f|UTF8|retired")
    assert dumping.run() == ["guestbook: it is not there"]
    assert dumping.made == ["globals.sql", "postgres.dump"]
    assert "<4>retired is not dumped: it takes no connections" in capsys.readouterr().err
    dumping = Dumping(tmp_path, monkeypatch, "f|UTF8|guestbook")
    assert dumping.run() == ["guestbook: it takes no connections"]


def test_no_database_is_left_out_for_what_its_owner_calls_it() -> None:
    """`IS_TEMPLATE` is for an owner to set."""
    for query in (dumps.LISTED, dumps.SIZE):
        assert "istemplate" not in query
        assert "NOT IN ('template0', 'template1')" in query


def test_without_the_roles_there_is_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping = Dumping(tmp_path, monkeypatch, "t|UTF8|guestbook")
    dumping.failing = {"globals"}
    with pytest.raises(ProgramError, match="pg_dumpall failed"):
        dumping.run()
