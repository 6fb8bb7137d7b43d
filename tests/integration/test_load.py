"""The load that judges promotes, against one server where nothing happens: nothing may be found."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from images.lab import lab
from images.machine import Description, booted
from images.run import start
from specs.plan import Role
from tests.load import truth
from tests.load.ledger import counts, read_ledger, read_requests

pytestmark = pytest.mark.root

Describe = Callable[[Role, bool], Description]

SECONDS = 12
"""Longer than a slow transfer."""


def test_a_server_in_peace_passes(hobby: Describe, tmp_path: Path) -> None:
    with lab() as place, booted(place, hobby("primary", True)) as machine:
        assert machine.settle() == "running"
        words = [sys.executable, "-m", "tests.load.client", str(tmp_path)]
        addresses = [machine.address.v4, machine.address.v6]
        users = start(place.client([*words, *addresses]), output=tmp_path / "users.log")
        try:
            time.sleep(SECONDS)
        finally:
            code = users.stop(signal.SIGTERM, patience=60)
        assert code == 0, (tmp_path / "users.log").read_text()
        told, ledger = read_requests(tmp_path), read_ledger(tmp_path)
        found = counts(told)
        assert (found["failed"], found["cut"]) == (0, 0), found
        assert found["requests"] > 90 * SECONDS
        assert {"download", "upload", "idle", "file", "fetch"} <= set(found["by_kind"]), found
        assert found["by_connection"]["kept"] > 0.3 * found["requests"]
        difference = truth.held_against(ledger, lambda line: machine.run(line).stdout)
        assert not any((difference.lost, difference.doubled, difference.altered)), difference
        gone = machine.run(
            f"{truth.PSQL} --command='DELETE FROM entries WHERE id = (SELECT min(id) FROM entries)'"
        )
        assert "DELETE 1" in gone.stdout
        difference = truth.held_against(ledger, lambda line: machine.run(line).stdout)
        assert len(difference.lost) == 1
