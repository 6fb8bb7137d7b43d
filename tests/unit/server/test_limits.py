"""What a standby must have at least as large as its primary: asked for, written, and in force."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from images.server import acts, replication, state, steps, wire
from images.server.asking import Line
from images.server.facts import Facts
from images.server.journal import Journal
from images.server.roles import Role
from images.server.state import ProgramError
from images.server.swapping import Swap

UNIT: Final = "postgresql@17-main.service"
CONTROL: Final = """\
Database cluster state:               shut down
Database system identifier:           7561234567890123456
Latest checkpoint location:           1/5000028
Latest checkpoint's TimeLineID:       3
max_connections setting:              {max_connections}
max_worker_processes setting:         {max_worker_processes}
max_wal_senders setting:              {max_wal_senders}
max_prepared_xacts setting:           {max_prepared_transactions}
max_locks_per_xact setting:           {max_locks_per_transaction}
"""
USUAL: Final = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}


class Pair:
    """A server's limits as its files have them, as they run and as its log has them; and the
    primary's. `ran` is what was started, `asked` what was asked of either Postgres."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"etc/postgresql/17/main/conf.d/{replication.FILE}"
        self.own, self.control, self.running = dict(USUAL), dict(USUAL), dict(USUAL)
        self.primary = dict(USUAL)
        self.reachable = True
        self.ran: list[list[str]] = []
        self.asked: list[str] = []
        self.behind = 0

    def run(self, argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        said = ""
        if argv[0].endswith("pg_controldata"):
            said = CONTROL.format(**self.control)
        elif argv[0].endswith("bin/postgres"):
            said = f"{self.own[argv[2]]}\n"
        else:
            self.ran.append(list(argv))
        return subprocess.CompletedProcess(list(argv), 0, said, "")

    def written(self) -> dict[str, int]:
        """The limits in the file."""
        lines = (line.partition(" = ") for line in self.file.read_text().splitlines())
        return {name: int(value) for name, _, value in lines if name in USUAL}

    def units(self, verb: str) -> list[list[str]]:
        """What systemctl was told to do so."""
        return [argv for argv in self.ran if argv[0] == "systemctl" and verb in argv]


def answering(pair: Pair) -> type[wire.Wire]:
    """Either server's Postgres, in the place of a connection to it."""

    class Answering(wire.Wire):
        def __init__(self, path: str, *_: Any, **__: Any) -> None:
            if path == wire.PEER and not pair.reachable:
                raise ProgramError(f"{path}: no such file")
            self.limits = pair.primary if path == wire.PEER else pair.running

        def close(self) -> None:
            pass

        def query(self, sql: str, patience: float | None = None) -> list[wire.Row]:
            pair.asked.append(sql)
            name = sql.removeprefix("SHOW ")
            if name in self.limits:
                return [(str(self.limits[name]),)]
            if "wal_flush_lsn" in sql:
                return [("0/5000100",)]
            if "pg_stat_replication" in sql:
                pair.behind -= "replay_lsn >= '0/5000100'" in sql
                return [("0" if pair.behind >= 0 and "replay" in sql else "1",)]
            return []

    return Answering


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """A server with a cluster, whose peer serves."""
    found = Pair(tmp_path)
    found.file.parent.mkdir(parents=True)
    home = tmp_path / "data/postgres/17/main"
    home.mkdir(parents=True)
    (home / "PG_VERSION").write_text("17\n")
    (tmp_path / "server.json").write_text(json.dumps({"postgres": {"version": 17}}))
    places = (("ROOT", ""), ("ETC", ""), ("LIB", ""), ("DATA", "data"))
    for name, path in places:
        monkeypatch.setattr(state, name, tmp_path / path)
    ours = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(pwd, "getpwnam", lambda _: ours)
    monkeypatch.setattr(subprocess, "run", found.run)
    monkeypatch.setattr(wire, "Wire", answering(found))
    return found


def test_blue_follows_with_what_green_has_more_of(pair: Pair) -> None:
    """Else it would stop to replay at green's first record, and never take over again."""
    pair.primary |= {"max_connections": 200, "max_worker_processes": 16}
    pair.running |= {"max_connections": 200, "max_worker_processes": 16}
    acts.follow()
    assert pair.written() == {**USUAL, "max_connections": 200, "max_worker_processes": 16}
    assert pair.units("start") and not pair.units("restart")


def test_what_its_own_image_has_more_of_stays(pair: Pair) -> None:
    pair.own |= {"max_connections": 300}
    pair.running |= {"max_connections": 300}
    acts.follow()
    assert pair.written() == {**USUAL, "max_connections": 300}


def test_what_the_log_here_asks_for_counts_too(pair: Pair) -> None:
    """A primary that had more, and was started with less since: a start would end by the log."""
    pair.control |= {"max_prepared_transactions": 5}
    pair.running |= {"max_prepared_transactions": 5}
    acts.follow()
    assert pair.written() == {**USUAL, "max_prepared_transactions": 5}


def test_a_standby_that_runs_with_less_starts_anew(pair: Pair) -> None:
    """After a reboot of blue it begins to follow before green could say so."""
    pair.primary |= {"max_locks_per_transaction": 128}
    acts.follow()
    assert pair.units("restart") == [["systemctl", "--no-ask-password", "restart", UNIT]]


def test_one_that_cannot_ask_its_primary_is_not_started(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("images.server.limits.PATIENCE", 0.0)
    pair.reachable = False
    with pytest.raises(ProgramError, match="no such file"):
        acts.follow()
    assert not pair.ran and not pair.file.exists()


def test_a_fenced_server_knows_no_primary_yet(pair: Pair) -> None:
    """The guard asks nobody: before Postgres may start here again, `follow` writes it all."""
    pair.reachable = False
    acts.fit_files(Role(7, "fenced"))
    assert "primary_conninfo" in pair.file.read_text()
    assert pair.written() == {}


def swapping() -> Swap:
    """A swap on green, after its promotion."""
    swap = Swap(
        {"epoch": 7}, {"postgres": {"version": 17}}, Line(7), Journal(7), Facts(True, "", "")
    )
    swap.line.ask = lambda *_, **__: {}  # type: ignore[method-assign]
    return swap


def test_a_second_copy_is_one_that_replays(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby that stopped to replay goes on to stream."""
    monkeypatch.setattr("images.server.swapping.time.sleep", lambda _: None)
    pair.behind = 3
    assert steps.follow(swapping()).followed
    looks = [sql for sql in pair.asked if "pg_stat_replication" in sql]
    assert len(looks) == 4


def test_what_green_was_raised_to_stays_until_blue_has_replayed_it(pair: Pair) -> None:
    """A restart of green before that would write smaller limits over those that blue is to have."""
    pair.file.write_text("max_connections = 300\n")
    steps.follow(swapping())
    assert pair.written() == {"max_connections": 300}
