"""Files written whole or not at all."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from images.server import state
from images.server.state import ProgramError


def test_write_makes_exactly_this_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    state.write(path, "one\n", mode=0o640)
    assert path.read_text() == "one\n"
    assert path.stat().st_mode & 0o7777 == 0o640
    state.write(path, "two\n", mode=0o600)
    assert path.read_text() == "two\n"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_write_leaves_what_is_already_so(tmp_path: Path) -> None:
    path = tmp_path / "same"
    state.write(path, "x")
    before = path.stat()
    state.write(path, "x")
    assert path.stat().st_ino == before.st_ino


def test_write_takes_the_place_of_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_text("half")
    state.write(tmp_path / "file", "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_folder_puts_its_mode_right(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    state.folder(folder, 0o700)
    assert folder.stat().st_mode & 0o7777 == 0o700


def test_a_link_is_no_folder_of_ours(tmp_path: Path) -> None:
    """/data/state comes from another server; what it leads to would get our files and our mode."""
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "state").symlink_to("etc")
    with pytest.raises(ProgramError, match="state is a link"):
        state.folder(tmp_path / "state", 0o700)
    assert (tmp_path / "etc").stat().st_mode & 0o7777 == 0o755


def test_a_missing_or_damaged_fact_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="does not exist"):
        state.read_json(tmp_path / "boot.json")
    (tmp_path / "boot.json").write_text("{")
    with pytest.raises(ProgramError, match="damaged"):
        state.read_json(tmp_path / "boot.json")


def test_our_sessions_have_our_settings() -> None:
    """A database's owner may set these for whoever connects; an option of the connection wins."""
    options = state.environment(17)["PGOPTIONS"]
    for name, value in (
        ("search_path", ""),
        ("role", "none"),
        ("default_transaction_read_only", "off"),
        ("default_transaction_isolation", r"read\ committed"),
        ("statement_timeout", "0"),
        ("lock_timeout", "10s"),
        ("transaction_timeout", "0"),
        ("local_preload_libraries", ""),
    ):
        assert f"-c {name}={value}" in re.split(r"(?<!\\) (?=-c )", options), name


def test_an_older_postgres_is_not_asked_for_what_it_does_not_know() -> None:
    assert "transaction_timeout" not in state.environment(16)["PGOPTIONS"]


def test_psql_has_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def run(words: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        given.append(more["env"]["PGOPTIONS"])
        return subprocess.CompletedProcess(words, 0, "1\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert state.psql(17, "SELECT 1") == "1\n"
    assert given == [state.environment(17)["PGOPTIONS"]]


@pytest.mark.parametrize(
    ("role", "primary"), [("primary", True), ("standby", False), ("throwaway", False)]
)
def test_without_postgres_the_role_says_who_is_primary(role: str, primary: bool) -> None:
    assert state.is_primary({"postgres": None}, role) is primary


def test_a_program_fails_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise ProgramError("two\n lines")

    with pytest.raises(SystemExit) as ended:
        state.run_program(main)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "<3>two lines\n"
