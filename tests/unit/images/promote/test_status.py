"""What `invoke status` says of copies and backups."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from images.promote.job import ACTIVE, GIVEN_UP, STANDBY
from images.promote.observe import look
from images.promote.reach import LockedOutError
from images.promote.status import ago, as_data, lines
from specs.model import Data
from tests.unit.images.promote.placed import NEW, Place, deployed

POSTGRES = {"postgres": {"in_recovery": False}}
STREAMS = {"sent": "0/5000", "replay": "0/4000"}
COPIES = {"sent": "0/5000", "replay": ""}
"""Who takes a copy, and replays nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Place:
    """One server serves and another one is its standby."""
    place = deployed(tmp_path)
    blue = place.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    place.add(2, NEW.id, STANDBY, 7, "standby")
    place.told[blue.name] = dict(POSTGRES)
    return place


BLUE, GREEN = "hobby-g1-e1", "hobby-g2-e7"


def shown(site: Place) -> str:
    return "\n".join(lines(look(site)))


def data(site: Place, name: str = BLUE) -> dict[str, Any]:
    servers = as_data(look(site))["servers"]
    return next(dict(one) for one in servers if one["name"] == name)


def test_a_standby_that_streams_is_a_second_copy(site: Place) -> None:
    site.rows.extend((STREAMS, COPIES))
    assert "its standby is 4096 bytes behind" in shown(site)
    assert "second copy" not in shown(site)
    assert (data(site)["standbys"], data(site)["lag_bytes"]) == (1, 4096)
    assert data(site, GREEN)["standbys"] is None


@pytest.mark.parametrize("rows", [[], [COPIES]])
def test_a_standby_that_does_not_stream_is_none(site: Place, rows: list[dict[str, str]]) -> None:
    site.rows.extend(rows)
    said = f"there is no second copy of its data now: nothing streams to {GREEN}; the next promote"
    assert f"    {said} makes one" in shown(site)
    assert (data(site)["standbys"], data(site)["lag_bytes"]) == (0, None)


def test_nothing_is_said_of_copies_where_none_is_kept(site: Place) -> None:
    """Data on a volume; a standby that was given up; a server whose database is silent."""
    moved = replace(site, spec=replace(site.spec, data=Data(strategy="volume")))
    assert "second copy" not in shown(moved)
    site.told.clear()
    assert "second copy" not in shown(site)
    site.told[BLUE] = dict(POSTGRES)
    standby = next(one for one in site.provider.servers("hobby") if one.name == GREEN)
    site.provider.set_labels(standby.id, {**standby.labels, "role": GIVEN_UP})
    assert "second copy" not in shown(site)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"ok": True, "why": ""}, "    its last backup worked 3 h ago"),
        ({"ok": False, "why": "disk full"}, "    its last backup failed 3 h ago: disk full"),
        (None, "    it has no backup yet"),
    ],
)
def test_the_last_backup_is_told(site: Place, last: dict[str, Any] | None, said: str) -> None:
    record = last and {**last, "at": int(time.time()) - 3 * 3600 - 60}
    site.told[BLUE]["backup"] = record
    site.told[GREEN] = {"backup": {"at": 0, "ok": False, "why": "of another time"}}
    assert said in shown(site).splitlines()
    assert "another time" not in shown(site)
    assert data(site)["backup"] == record
    assert "backup" not in data(site, GREEN)


def test_a_server_of_an_older_image_says_nothing_of_backups(site: Place) -> None:
    assert "backup" not in shown(site)
    assert "backup" not in data(site)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ({"ok": True, "why": ""}, "    the last check of its backups passed 3 d ago"),
        (
            {"ok": False, "why": "damage"},
            "    the last check of its backups failed 3 d ago: damage",
        ),
        (None, ""),
    ],
)
def test_the_last_check_is_told_beside_a_backup_that_worked(
    site: Place, check: dict[str, Any] | None, said: str
) -> None:
    now = int(time.time())
    record = check and {**check, "at": now - 3 * 86_400 - 60, "repository": "/mnt/b"}
    site.told[BLUE].update(backup={"at": now - 120, "ok": True, "why": ""}, check=record)
    found = [line for line in shown(site).splitlines() if "backup" in line]
    assert found == ["    its last backup worked 2 min ago", *([said] if said else [])]
    assert data(site)["check"] == record
    assert "check" not in data(site, GREEN)


def test_a_server_of_an_older_image_says_nothing_of_checks(site: Place) -> None:
    site.told[BLUE]["backup"] = {"at": 0, "ok": True, "why": ""}
    assert "check" not in shown(site)
    assert "check" not in data(site)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_how_long_ago_it_was(seconds: float, said: str) -> None:
    assert ago(seconds) == f"{said} ago"


def test_a_server_behind_a_lock_is_told_with_what_to_bring(site: Place) -> None:
    site.locked.add(BLUE)
    assert f"{BLUE} answers, and does not let this machine's key in" in shown(site)
    assert "    bring `operator/`" in shown(site)
    assert "operator/" in data(site)["locked_out"]
    with pytest.raises(LockedOutError):
        look(site).active()
    site.told[GREEN] = dict(POSTGRES)
    site.roles[GREEN] = ("serving", 8)  # whoever serves is known: the other one need not be asked
    assert look(site).active().name == GREEN
