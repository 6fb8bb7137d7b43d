"""What `invoke bench-promote` says about its figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from specs.errors import UsageError
from tests.benchmarks.promote import size_of
from tests.benchmarks.promote_page import Figures, page

FIGURES = Figures(
    failed=0,
    cut=0,
    lost=0,
    doubled=0,
    altered=0,
    write_pause_median=0.3149,
    write_pauses=(0.2, 0.3149, 0.4),
    longest_request=0.71,
    promotes=3,
    promote_seconds=(50.0, 30.0),
    rollback_seconds=(31.0,),
    database_bytes=1_010_000_000,
    writes=100,
    files=7,
    rate=100.4,
    counts={"requests": 300, "by_kind": {"write": 100}, "by_connection": {"new": 300}},
    longest_kind="write on a new connection",
    pauses_during=("4 hold 0.15, 6 stop 0.09", ""),
)


def test_sizes() -> None:
    assert [size_of(words) for words in ("0", "5k", "200M", "1G")] == [0, 5000, 2 * 10**8, 10**9]
    with pytest.raises(UsageError):
        size_of("1 GB")


def test_the_page_has_a_row_for_each_goal_and_says_where_and_when() -> None:
    text = page(FIGURES, "a machine", 0.5, "2026-01-31")
    assert "| failed requests | 0 of 300 | 0 |" in text
    assert "| write pause, median of 3 | 0.31 s (longest 0.40 s) | ≤ 0.5 s |" in text
    assert "| whole promote, 1.0 GB of database | 40.0 s (first 50.0 s, longest 50.0 s) |" in text
    assert "2026-01-31" in text and "a machine" in text and "load of 0.5" in text
    assert "did not go to its end" not in text
    assert "The servers' steps meanwhile: 4 hold 0.15, 6 stop 0.09; none." in text
    assert "The longest request was a write on a new connection, meanwhile: none." in text


def test_a_run_that_broke_off_says_so() -> None:
    broken = replace(FIGURES, wrong="rollback 2: exit code 1", rollback_seconds=())
    assert not broken.good and FIGURES.good
    assert "rollback 2: exit code 1" in page(broken, "a machine", 0.5, "2026-01-31")
    assert broken.table().endswith("rollback 2: exit code 1")
    assert "| whole rollback | none | as promote |" in page(broken, "", 0, "")


@pytest.mark.parametrize("name", ["failed", "cut", "lost", "doubled", "altered"])
def test_one_of_anything_is_not_good(name: str) -> None:
    one: dict[str, Any] = {name: 1}
    assert not replace(FIGURES, **one).good
