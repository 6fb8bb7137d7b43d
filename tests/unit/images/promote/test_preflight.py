"""Facts in, reasons out: each one alone, and all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from images.promote import preflight
from specs.model import Spec
from specs.plan import ImagePlan, resolve
from specs.read import read

HOBBY = read(Path(__file__).parents[4] / "specs/hobby.yaml")
PLAN = resolve(HOBBY, None, ()).image


def facts() -> dict[str, Any]:
    """What the hand of a healthy blue says."""
    return {
        "role": {"state": "serving", "epoch": 3},
        "architecture": "x86_64",
        "strategy": "replica",
        "files": 2_000_000_000,
        "postgres": {
            "settings": {
                "server_version_num": "170006",
                "data_checksums": "on",
                "wal_sender_timeout": "10000",
            },
            "in_recovery": False,
            "longest": 0.4,
            "prepared": 0,
            "archive_backlog": 0,
            "collations": [["guestbook", "b", "C.UTF-8", "1", "1"]],
            "past_pooler": [],
            "pooling": "transaction",
        },
    }


def reasons(blue: dict[str, Any], spec: Spec = HOBBY, plan: ImagePlan = PLAN) -> list[str]:
    return preflight.reasons(spec, plan, blue, None, 8 << 30)


def test_nothing_speaks_against_a_healthy_blue() -> None:
    assert reasons(facts()) == []


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(blue: dict[str, Any]) -> None:
        for key in path[:-1]:
            blue = blue[key]
        blue[path[-1]] = to

    return change


SESSION = {"pid": "7", "role": "postgres", "database": "guestbook", "application": "", "state": ""}
CASES = {
    "not serving": (_set("role", "state", to="armed"), "it is armed"),
    "another machine": (_set("architecture", to="aarch64"), "blue is arm64"),
    "no room": (_set("files", to=9_000_000_000), "needs 10.8 GB"),
    "another major": (
        _set("postgres", "settings", "server_version_num", to="160004"),
        "blue runs Postgres 16",
    ),
    "sorted by libc": (
        _set("postgres", "collations", to=[["shop", "c", "de_DE.UTF-8", "2.36", "2.41"]]),
        "shop sorts by libc",
    ),
    "no checksums": (_set("postgres", "settings", "data_checksums", to="off"), "no checksums"),
    "a long transaction": (_set("postgres", "longest", to=90.0), "open for 90 s"),
    "prepared": (_set("postgres", "prepared", to=2), "2 prepared transactions"),
    "past the pooler": (_set("postgres", "past_pooler", to=[SESSION]), "postgres in guestbook"),
    "slow archive": (_set("postgres", "archive_backlog", to=40), "40 log segments"),
    "a patient sender": (
        _set("postgres", "settings", "wal_sender_timeout", to="60000"),
        "wal_sender_timeout is 60 s",
    ),
    "a sender without end": (
        _set("postgres", "settings", "wal_sender_timeout", to="0"),
        "wal_sender_timeout is off",
    ),
    "another strategy": (_set("strategy", to="volume"), "blue keeps its data by volume"),
    "no database there": (_set("postgres", to=None), "blue has none"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_reason_is_named(case: str) -> None:
    change, words = CASES[case]
    blue = facts()
    change(blue)
    found = reasons(blue)
    assert len(found) == 1 and words in found[0]


def test_all_reasons_are_told_at_once() -> None:
    blue = facts()
    for case in ("another machine", "no room", "a long transaction", "slow archive"):
        CASES[case][0](blue)
    assert len(reasons(blue)) == 4


def test_sessions_are_cut_only_with_consent() -> None:
    blue = facts()
    blue["postgres"]["pooling"] = "session"
    assert "allow_disconnects" in reasons(blue)[0]
    assert HOBBY.deploy.allow_disconnects is False
    willing = replace(HOBBY, deploy=replace(HOBBY.deploy, allow_disconnects=True))
    assert reasons(blue, spec=willing) == []


def test_a_database_is_not_left_behind() -> None:
    found = reasons(facts(), plan=replace(PLAN, postgres=None))
    assert found == ["blue has a database and the image has no postgres section: nothing moves it"]


def test_files_must_come_to_rest() -> None:
    assert preflight.restless({}) == []  # by an older version's hand
    assert preflight.restless({"files": 3, "bytes": 10_000, "seconds": 0.2}) == []
    busy, slow = preflight.restless({"files": 9, "bytes": 900_000_000, "seconds": 12.0})
    assert "900 MB of files changed" in busy
    assert "a pass over the files takes 12 s" in slow


def test_room_counts_only_where_data_is_copied() -> None:
    blue = facts()
    blue["strategy"], blue["files"] = "volume", 9_000_000_000
    plan = replace(PLAN, data=replace(PLAN.data, strategy="volume"))
    assert reasons(blue, plan=plan) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_connections": "100"}, ""),
        ({"max_connections": "90"}, "max_connections 100 and blue has 90"),
        ({"max_worker_processes": "8"}, "max_worker_processes 16 and blue has 8"),
    ],
)
def test_more_than_an_older_blue_has_would_be_no_second_copy(
    settings: dict[str, str], words: str
) -> None:
    """It would receive green's log and not replay it; a newer one says that it can."""
    blue = facts()
    blue["postgres"]["settings"] |= settings
    assert PLAN.postgres is not None
    larger = replace(PLAN.postgres, settings={"max_worker_processes": "16"})
    found = reasons(blue, plan=replace(PLAN, postgres=larger))
    assert (len(found), words in "".join(found)) == (bool(words), True)
    blue["postgres"]["raises_limits"] = True
    assert reasons(blue, plan=replace(PLAN, postgres=larger)) == []


def test_a_volume_is_not_paused_but_must_be_readable() -> None:
    blue = facts()
    blue["strategy"] = "volume"
    blue["postgres"] |= {"longest": 900.0, "pooling": "session", "archive_backlog": 99}
    plan = replace(PLAN, data=replace(PLAN.data, strategy="volume"))
    assert reasons(blue, plan=plan) == []
    blue["postgres"]["settings"]["server_version_num"] = "160004"
    (major,) = reasons(blue, plan=plan)
    assert "blue runs Postgres 16" in major


def test_a_copy_that_sorts_otherwise_is_found_on_green() -> None:
    green = facts()
    assert preflight.mismatch(green) == []
    green["postgres"]["collations"] = [["shop", "i", "de-DE", "153.120", "153.128"]]
    assert preflight.mismatch(green) == [
        "the database shop was sorted by version 153.120 of de-DE and green has 153.128"
    ]


def test_many_are_named_shortly() -> None:
    assert preflight.named([1, 2]) == "1, 2"
    assert preflight.named([1, 2, 3, 4, 5]) == "1, 2, 3 and 2 more"


def test_space_is_judged_only_where_the_size_of_the_disk_is_known() -> None:
    """A cloud's servers have the disk of their type."""
    full = facts() | {"files": 40 << 30}
    assert len(reasons(full)) == 1
    assert preflight.reasons(HOBBY, PLAN, full, None, None) == []
