"""Places in the log, rsync's words, journals: what a swap reads and says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from images.server import journal, release, replication, state, sync
from images.server.journal import Journal
from images.server.state import ProgramError

CONTROL = """pg_control version number:            1700
Database system identifier:           7561234567890123456
Database cluster state:               shut down
pg_control last modified:             Sat 21 Nov 2026 01:00:00 PM UTC
Latest checkpoint location:           1/5000028
Latest checkpoint's REDO location:    1/5000028
Latest checkpoint's TimeLineID:       3
Latest checkpoint's PrevTimeLineID:   3
wal_level setting:                    replica
max_connections setting:              200
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           5
max_locks_per_xact setting:           64
track_commit_timestamp setting:       off
"""
LIMITS = {
    "max_connections": 200,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 5,
    "max_locks_per_transaction": 64,
}


def test_places_in_the_log_are_numbers() -> None:
    assert replication.lsn("0/5000028") == 0x5000028
    assert replication.lsn("16/B374D848") == (0x16 << 32) + 0xB374D848
    assert replication.lsn("1/0") > replication.lsn("0/FFFFFFFF")
    with pytest.raises(ProgramError, match="no place"):
        replication.lsn("")


def test_controldata_is_read() -> None:
    found = replication.parsed(CONTROL)
    assert found == replication.Control("shut down", "1/5000028", 3, "7561234567890123456", LIMITS)


def test_the_standby_names_itself_and_its_slot() -> None:
    text = replication.settings({})
    assert "host=/run/bakehouse/peer user=replicator application_name=bakehouse" in text
    assert text.endswith("primary_slot_name = 'bakehouse'\n")
    assert replication.settings({"max_connections": 200}) == text + "max_connections = 200\n"
    assert "--slot=bakehouse" in replication.backup_command(17, Path("/x"))


def test_a_setting_stays_the_text_that_it_is() -> None:
    """A backslash escapes there, unlike in SQL, and a line's end would begin another setting."""
    assert state.setting("a", "it's") == "a = 'it''s'\n"
    assert state.setting("a", "x\\'\nb = '1") == r"a = 'x\\''\nb = ''1'" + "\n"


@pytest.mark.parametrize("name", ["bakehouse2", "x\\", "bakehouse'\nfsync = 'off", "", None, 1])
def test_a_standby_has_one_name(name: object) -> None:
    assert replication.known("bakehouse") == "bakehouse"
    with pytest.raises(ProgramError, match="is called bakehouse"):
        replication.known(name)


@pytest.mark.parametrize(
    ("paths", "folders"),
    [
        ([], ["/data"]),
        (["/data/wiki"], ["/data"]),
        (["/srv/mail/", "/data"], ["/data", "/srv/mail"]),
        (["/database"], ["/data", "/database"]),
    ],
)
def test_a_folder_is_carried_once(paths: list[str], folders: list[str]) -> None:
    assert sync.folders({"data": {"paths": paths}}) == folders


def test_a_late_pass_takes_nothing_away() -> None:
    late = sync.command("/data", "late", Path("/s"))
    assert "--update" in late
    assert "--delete" not in late
    mirror = sync.command("/data", "mirror", Path("/s"))
    assert "--delete" in mirror
    assert "--exclude=/postgres" in mirror
    assert mirror[-2:] == ["peer:/data/", "/data/"]
    for words in (late, mirror, sync.command("/data", "dry", Path("/s"))):
        assert words.index("-aHAX") < words.index("--no-devices")  # which -a would bring
        assert "--no-specials" in words
    assert "--exclude=/postgres" not in sync.command("/srv/mail", "mirror", Path("/s"))


def test_the_last_pass_waits_for_its_turn_and_outlasts_a_full_pipe() -> None:
    """By output that does not block `cat` ended at the first full buffer, the pass with it."""
    shell = sync.relay(7, 8, 9)
    ours = f"/proc/{os.getpid()}/fd"
    assert shell.startswith(f"/bin/sh -c 'exec 3<&0; read -r _ <{ours}/7 || exit 1; cat <&3")
    words = sync.tied("/srv/mail", shell)
    assert {"--blocking-io", "--delete", f"--rsh={shell}"} < set(words)
    assert words.index(f"--rsh={shell}") > words.index(f"--rsh={sync.shell(sync.own_socket())}")


@pytest.mark.parametrize(("codes", "passes"), [([0], 1), ([24], 1), ([23, 0], 2)])
def test_a_file_that_grows_shorter_under_a_pass_costs_one_more(
    codes: list[int], passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = rsyncs(codes, monkeypatch)
    assert sync.run([str(tmp_path / "files")]) == "carried\n"
    assert began == ["rsync"] * passes


@pytest.mark.parametrize(("codes", "passes"), [([23, 23], 2), ([11], 1), ([255], 1)])
def test_what_a_pass_cannot_do_is_no_success(
    codes: list[int], passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = rsyncs(codes, monkeypatch)
    with pytest.raises(ProgramError, match=r"were not carried: .*: rsync's words"):
        sync.run([str(tmp_path / "files")])
    assert began == ["rsync"] * passes


def rsyncs(codes: list[int], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In the place of processes: each ends with the next of these codes. Which were begun."""
    began: list[str] = []

    class Rsync:
        def __init__(self, words: list[str], **_: object) -> None:
            self.returncode = codes[len(began)]
            began.append(words[0])

        def communicate(self) -> tuple[str, str]:
            return "carried\n", "rsync's words\n"

    monkeypatch.setattr(subprocess, "Popen", Rsync)
    return began


def test_what_was_deleted_since_is_not_carried_again(tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    for name in ("a", "b*[x]"):
        (tmp_path / "uploads" / name).write_text(name)
    known = sync.listing([str(tmp_path)])
    assert known == {f"{tmp_path}/uploads/a", f"{tmp_path}/uploads/b*[x]"}
    words = sync.command(str(tmp_path), "late", Path("/s"), sorted(known))
    assert "--exclude=/uploads/a" in words
    assert r"--exclude=/uploads/b\*\[x]" in words


def test_rsyncs_sums_are_added_up() -> None:
    text = (
        "Number of regular files transferred: 1,204\nTotal transferred file size: 5,000 bytes\n"
        "Number of regular files transferred: 2\nTotal transferred file size: 7 bytes\n"
    )
    assert sync.counted(text) == {"files": 1206, "bytes": 5007}


def test_a_journal_survives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "swap.jsonl"
    first, second = Journal(1, path), Journal(2, path)
    first.write("5 pause", "begin")
    first.write("10 resume", "done", seconds=0.01)
    with path.open("a") as file:
        file.write('{"epoch": 2, "st\n')
    second.write("5 pause", "begin")
    assert [line["step"] for line in first.lines()] == ["5 pause", "10 resume"]
    assert [line["what"] for line in second.lines()] == ["begin"]
    pause = journal.between(first.lines(), "5 pause", "10 resume")
    assert pause is not None
    assert pause >= 0
    assert journal.between(second.lines(), "5 pause", "10 resume") is None
    assert journal.took(first.lines()) == [{"step": "10 resume", "seconds": 0.01}]


def test_another_image_or_command_is_another_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path)
    app = {"name": "shop", "image": "bakehouse.local/shop:1", "release": ["migrate"]}
    assert release.due(app)
    state.write(tmp_path / release.DONE, f'{{"shop": "{release.key(app)}"}}')
    assert not release.due(app)
    assert release.due({**app, "image": "bakehouse.local/shop:2"})
    assert release.due({**app, "release": ["migrate", "--all"]})
    assert not release.due({**app, "release": []})
    assert release.command(app)[-2:] == ["shop-1", "migrate"]
    assert "--label=bakehouse.app=" in release.command(app)
