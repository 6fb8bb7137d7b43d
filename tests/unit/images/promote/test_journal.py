"""A journal survives a crash in the middle of a line, and a person can read it."""

from __future__ import annotations

from pathlib import Path

from images.home import Home
from images.promote.journal import journal, told


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    log = journal(Home(tmp_path), "hobby")
    log.write(7, "began", step=12, name="floating IP")
    log.write(7, "done", step=12, name="floating IP", said="green answers")
    found = list(log.entries())
    assert [entry["event"] for entry in found] == ["began", "done"]
    assert log.path == tmp_path / "history/hobby.jsonl"


def test_a_line_cut_short_costs_only_itself(tmp_path: Path) -> None:
    log = journal(Home(tmp_path), "hobby")
    log.write(1, "began")
    with log.path.open("a") as file:
        file.write('{"time": "2026')
    log.write(2, "began")
    assert [entry["epoch"] for entry in log.entries()] == [1, 2]


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert list(journal(Home(tmp_path), "hobby").entries()) == []


def test_a_person_reads_step_and_reason() -> None:
    entry = {"time": "2026-01-02T03:04:05.678Z", "epoch": 7, "event": "done", "step": 12}
    line = told({**entry, "name": "floating IP", "said": "v4 answers 3"})
    assert line == ("2026-01-02T03:04:05.678Z  epoch 7  step 12 floating IP: done (v4 answers 3)")
