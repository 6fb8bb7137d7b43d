"""What goes into an archive and what does not, how Borg is called, and how it ends."""

import fcntl
import json
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from images.server import backup, outcomes, repository, state
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
    monkeypatch.setattr(repository, "SECRETS", tmp_path)
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
        repository.borg_environment("/mnt/backups", "hobby")


def test_the_passphrase_stays_in_its_file(places: Path) -> None:
    (places / "borg_passphrase").write_text("s3cret")
    environment = repository.borg_environment("/mnt/backups", "hobby")
    assert not any("s3cret" in value for value in environment.values())
    assert environment["BORG_PASSCOMMAND"] == f"cat {places}/borg_passphrase"
    assert " -i " not in environment["BORG_RSH"]


def test_what_borg_remembers_of_a_repository_moves_with_the_data(places: Path) -> None:
    (places / "borg_passphrase").write_text("s3cret")
    kept = [
        repository.borg_environment(where, "hobby")["BORG_SECURITY_DIR"]
        for where in ("/mnt/backups", "/mnt/backups", "ssh://u@h/./b")
    ]
    assert kept[0] == kept[1] != kept[2]
    assert all(Path(one).is_relative_to(repository.KNOWN_HOSTS.parent) for one in kept)


def test_an_ssh_key_is_the_only_identity(places: Path) -> None:
    (places / "borg_passphrase").write_text("s3cret")
    (places / "borg_ssh_key").write_text("key")
    rsh = repository.borg_environment("ssh://u@h/./b", "hobby")["BORG_RSH"]
    assert rsh.endswith(f"-o IdentitiesOnly=yes -i {places}/borg_ssh_key")
    assert "StrictHostKeyChecking=accept-new" in rsh


def test_a_credential_comes_before_the_delivered_file(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = places / "credentials"
    credentials.mkdir(mode=stat.S_IRWXU)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    (places / "borg_passphrase").write_text("delivered")
    assert repository.secret_file("borg_passphrase") == places / "borg_passphrase"
    (credentials / "borg_passphrase").write_text("credential")
    assert repository.secret_file("borg_passphrase") == credentials / "borg_passphrase"


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


@pytest.mark.parametrize("lacking", [[], ["shop: pg_dump failed: no", "wiki: it is not there"]])
def test_an_archive_without_a_database_takes_no_whole_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: list[str]
) -> None:
    """Neither is one thinned out for it, nor would a restore begin with it."""
    ran: list[list[str]] = []
    borg = {**BORG, "paths": [], "repository": "/mnt/b", "keep": {"daily": 7}}
    facts = {**FACTS, "borg": borg, "data": {"paths": []}}
    monkeypatch.setattr(backup, "borg_environment", lambda *_: {})
    monkeypatch.setattr(backup, "ensure_repository", lambda *_: None)
    monkeypatch.setattr(backup, "remember", lambda *_: None)
    monkeypatch.setattr(backup, "run_borg", lambda words, *_: ran.append(words))
    monkeypatch.setattr(backup, "dumps", lambda *_, **__: nullcontext(lacking))
    monkeypatch.setattr(backup, "archive_paths", lambda *_: [str(tmp_path)])
    monkeypatch.setattr(state, "role", lambda: "primary")
    why = ""
    try:
        backup.create(facts, borg)
    except ProgramError as error:
        why = str(error)
    (archive,) = (word for word in ran[0] if word.startswith("::"))
    pattern = ran[1][2].removeprefix("--glob-archives=")
    assert [words[0] for words in ran] == ["create", "prune", "compact"]
    assert fnmatchcase(archive[2:], pattern)
    assert fnmatchcase(archive[2:], backup.ours("hobby")) is (lacking == [])
    assert pattern.endswith("-partial") is (lacking != [])
    assert why == (
        "a partial archive made, but without the database shop: pg_dump failed: no; without the"
        " database wiki: it is not there"
        if lacking
        else ""
    )


def test_a_signal_is_an_exception_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda *way: ways.append(way))
    with pytest.raises(SystemExit) as end:
        backup.stopped(signal.SIGTERM, None)
    assert end.value.code == 143
    assert ways == [(signal.SIGTERM, signal.SIG_IGN)]


class Server:
    """A server without Postgres; `run` runs the program on it, and `ends` is how the verbs do."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, patch
        self.pings: list[str] = []
        self.ends: Callable[[], None] = lambda: None
        for name in ("etc", "state", "run"):
            (root / name).mkdir()
        borg = {"repository": "/mnt/b", "ping": "https://ping.example/1"}
        facts = {"name": "hobby", "postgres": None, "borg": borg}
        (root / "etc/server.json").write_text(json.dumps(facts))
        for module, name, path in (
            (state, "ETC", root / "etc"),
            (state, "ROLE", root / "role.json"),
            (backup, "KNOWN_HOSTS", root / "state/borg/known_hosts"),
            (backup, "LOCK", root / "run/backup.lock"),
            (backup, "DUMPS", root / "dumps"),
            (outcomes, "BACKUP", root / "state/backup.json"),
            (outcomes, "CHECK", root / "state/check.json"),
        ):
            patch.setattr(module, name, path)
        patch.setattr(signal, "signal", lambda *_: None)
        patch.setattr(backup, "ping", self.ping)
        verbs = {"create": lambda *_: self.ends(), "check": lambda *_: self.ends()}
        patch.setattr(backup, "VERBS", verbs)
        self.role("primary")

    def ping(self, url: str, suffix: str) -> None:
        if url:
            self.pings.append(suffix)

    def role(self, role: str) -> None:
        (self.root / "etc/boot.json").write_text(json.dumps({"role": role}))

    def run(self, *words: str) -> None:
        self.patch.setattr(sys, "argv", ["backup", *words])
        backup.main()

    def fail(self, *words: str) -> None:
        """A run that must fail, because of what it does or before that."""
        ends, self.ends = self.ends, raising(ProgramError("no"))
        with pytest.raises(ProgramError):
            self.run(*words)
        self.ends = ends


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(tmp_path, monkeypatch)


def raising(error: BaseException) -> Callable[..., Any]:
    def end(*_: Any) -> None:
        raise error

    return end


def test_how_a_backup_ended_is_recorded(server: Server) -> None:
    assert outcomes.last_backup() is None
    server.run("create")
    good = outcomes.last_backup()
    assert good is not None
    assert (good["ok"], good["why"], type(good["at"])) == (True, "", int)
    server.ends = raising(ProgramError("pg_dump failed:\n  no such\tdatabase"))
    with pytest.raises(ProgramError):
        server.run("create")
    bad = outcomes.last_backup()
    assert bad is not None
    assert (bad["ok"], bad["why"]) == (False, "pg_dump failed: no such database")
    assert server.pings == ["/start", "", "/start", "/fail"]


def test_a_backup_that_is_stopped_is_recorded_and_asks_no_monitor(server: Server) -> None:
    server.ends = raising(SystemExit(143))
    with pytest.raises(SystemExit):
        server.run("create")
    last = outcomes.last_backup()
    assert last is not None
    assert (last["ok"], last["why"]) == (False, "it was stopped before its end")
    assert server.pings == ["/start"]


@pytest.mark.parametrize("role", ["standby", "throwaway"])
def test_who_does_not_hold_the_data_records_nothing(server: Server, role: str) -> None:
    server.role(role)
    server.run("create")
    assert outcomes.last_backup() is None
    assert server.pings == []


@pytest.mark.parametrize(("role", "told"), [("primary", True), ("standby", False)])
def test_a_failure_to_tell_who_it_is_is_recorded_where_the_data_is(
    server: Server, monkeypatch: pytest.MonkeyPatch, role: str, told: bool
) -> None:
    server.role(role)
    monkeypatch.setattr(state, "is_primary", raising(ProgramError("Postgres refused")))
    with pytest.raises(ProgramError):
        server.run("create")
    assert (outcomes.last_backup() is not None) is told


def test_a_check_is_no_backup(server: Server) -> None:
    server.run("check")
    server.fail("check")
    assert outcomes.last_backup() is None


@pytest.mark.parametrize("verb", ["check", "create"])
def test_of_a_copy_nothing_is_recorded_or_told(server: Server, verb: str) -> None:
    server.run(verb, "--repository", "/mnt/copy")
    server.fail(verb, "--repository", "/mnt/copy")
    assert outcomes.last_backup() is None
    assert outcomes.last_check("/mnt/b") is None
    assert outcomes.last_check("/mnt/copy") is None
    assert server.pings == []


def test_how_a_check_ended_is_recorded(server: Server) -> None:
    assert outcomes.last_check("/mnt/b") is None
    server.fail("check")
    bad = outcomes.last_check("/mnt/b")
    assert bad is not None
    assert (bad["ok"], bad["why"], type(bad["at"])) == (False, "no", int)
    server.run("check")
    good = outcomes.last_check("/mnt/b")
    assert good is not None
    assert (good["ok"], good["why"]) == (True, "")


def test_the_monitor_stays_red_until_a_check_passes(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail("check")
    server.run("create")
    server.run("create")
    assert server.pings == ["/fail", "/start", "/fail", "/start", "/fail"]
    assert "<4>the last check of the repository failed: no" in capsys.readouterr().err
    last = outcomes.last_backup()
    assert last is not None
    assert last["ok"]
    server.pings.clear()
    server.run("check")
    server.run("create")
    assert server.pings == ["/start", ""]


def test_a_check_that_passes_hides_no_backup_that_failed(server: Server) -> None:
    server.fail("create")
    server.run("check")
    assert server.pings == ["/start", "/fail"]


def test_a_check_that_is_stopped_found_nothing(server: Server) -> None:
    server.fail("check")
    server.ends = raising(SystemExit(143))
    with pytest.raises(SystemExit):
        server.run("check")
    assert server.pings == ["/fail"]
    last = outcomes.last_check("/mnt/b")
    assert last is not None
    assert last["why"] == "no"


def test_a_check_that_did_not_begin_found_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.run("check")
    monkeypatch.setattr(state, "is_primary", raising(ProgramError("Postgres refused")))
    server.fail("check")
    assert server.pings == ["/fail"]
    last = outcomes.last_check("/mnt/b")
    assert last is not None
    assert last["ok"]


@pytest.mark.parametrize("role", ["standby", "throwaway"])
def test_who_does_not_hold_the_data_checks_nothing(server: Server, role: str) -> None:
    server.role(role)
    server.ends = raising(ProgramError("no"))
    server.run("check")
    assert outcomes.last_check("/mnt/b") is None
    assert server.pings == []


def test_what_a_check_of_another_repository_found_says_nothing_of_this_one(
    server: Server,
) -> None:
    server.fail("check")
    assert outcomes.last_check("/mnt/new") is None


def test_a_record_that_cannot_be_written_fails_no_backup(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    def end() -> None:
        (server.root / "state").rename(server.root / "away")

    server.ends = end
    server.run("create")
    assert "could not be recorded" in capsys.readouterr().err
    assert server.pings == ["/start", ""]


@pytest.mark.parametrize("role", ["primary", "standby"])
def test_dumps_of_a_killed_run_go(server: Server, role: str) -> None:
    (server.root / "dumps").mkdir()
    (server.root / "dumps/guestbook.dump").write_text("half")
    server.role(role)
    server.run("create")
    assert not (server.root / "dumps").exists()


def test_dumps_of_a_run_that_is_at_work_stay(server: Server) -> None:
    (server.root / "dumps").mkdir()
    server.role("standby")
    with backup.LOCK.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        server.run("create")
        assert (server.root / "dumps").exists()
