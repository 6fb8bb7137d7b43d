"""A journal survives a crash in the middle of a line, and a person can read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.history import deed_lines, journal, names, told
from images.home import Home
from specs.errors import BakehouseError


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


def test_deeds_and_steps_share_a_file_and_not_a_list(tmp_path: Path) -> None:
    log = journal(Home(tmp_path), "hobby")
    log.write(3, "began", said="promote to generation 2")
    log.record("promote", "done", generation=2, pause=0.22)
    assert [entry["event"] for entry in log.deeds()] == ["promote"]
    assert [entry["event"] for entry in log.steps()] == ["began"]
    assert names(Home(tmp_path)) == ["hobby"]


def test_a_deed_that_fails_is_recorded_with_its_reason(tmp_path: Path) -> None:
    log = journal(Home(tmp_path), "hobby")
    with (
        pytest.raises(BakehouseError),
        log.recorded("build", image="hobby-1") as found,
    ):
        found["generation"] = 3
        raise BakehouseError("no package bash 5.2", "run `invoke update`")
    (entry,) = log.deeds()
    assert (entry["outcome"], entry["why"]) == ("failed", "no package bash 5.2")
    assert (entry["image"], entry["generation"]) == ("hobby-1", 3)


def test_a_person_reads_what_changed_and_what_it_cost() -> None:
    entry = {
        "time": "2026-01-02T03:04:05.678Z",
        "event": "promote",
        "outcome": "rolled-back",
        "generation": 7,
        "total": 61.5,
        "pause": 0.2214,
        "why": "generation 7 is not well: / answers 502",
        "changes": ["~ base: bash 5.1 → 5.2"],
        "fixes": {"bash": ["CVE-2026-1111"]},
        "seconds": {"bake": 6.25},
        "notices": [{"to": "mail", "delivered": False, "why": "refused"}],
    }
    assert list(deed_lines(entry, "web")) == [
        "2026-01-02 03:04  web: promote generation 7: rolled-back in 61.5 s, writes paused 0.221 s",
        "    generation 7 is not well: / answers 502",
        "    ~ base: bash 5.1 → 5.2",
        "    bash fixes CVE-2026-1111",
        "    bake 6.2 s",
        "    notice to mail was not delivered: refused",
    ]
