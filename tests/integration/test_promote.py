"""The whole chain by the command line: first server, promote, rollback, under load, and killed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.integration.deployment import NAME, Deployment, deployed, kill
from tests.load.ledger import counts, read_requests

pytestmark = pytest.mark.root

RATE = 40.0
"""Requests a second."""


@pytest.fixture(scope="module")
def hobby_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("promote")) as found:
        yield found


def test_there_is_only_one_first_time(hobby_cloud: Deployment) -> None:
    told = hobby_cloud.told("promote", "--first", code=1)
    assert "may have data already" in told["error"]
    assert "the floating IP is assigned" in told["error"]


def test_a_dry_run_tells_the_steps_and_changes_nothing(hobby_cloud: Deployment) -> None:
    before = hobby_cloud.servers()
    steps = hobby_cloud.told("promote", "--dry-run", "--image", f"{NAME}@2")["steps"]
    assert len(steps) == 1 + 15
    assert "nothing speaks against it" in steps[2]
    assert hobby_cloud.servers() == before


def test_promote_and_rollback_lose_nothing(hobby_cloud: Deployment) -> None:
    """Users at work all the time; the newest data is there both ways."""
    with hobby_cloud.users(RATE) as books:
        time.sleep(3)
        promoted = hobby_cloud.told("promote", "--image", f"{NAME}@2")
        assert (promoted["generation"], promoted["rolled_back"]) == (2, False)
        assert promoted["write_pause_seconds"] > 0
        back = hobby_cloud.told("rollback")
        assert (back["generation"], back["rolled_back"]) == (1, False)
        time.sleep(2)
    found = counts(read_requests(books))
    assert (found["failed"], found["cut"]) == (0, 0), found
    assert found["requests"] > 10 * RATE
    difference = hobby_cloud.difference(books)
    assert not any((difference.lost, difference.doubled, difference.altered)), difference
    status = hobby_cloud.told("status")
    states = {server["label"]: server["state"] for server in status["servers"]}
    assert states == {"active": "serving", "standby": "following"}
    assert status["lease"]["held"] is False


@pytest.mark.full
@pytest.mark.parametrize(("event", "step"), [("begins", 2), ("green", "6 stop"), ("begins", 12)])
def test_a_killed_operator_is_gone_on_with(
    hobby_cloud: Deployment, event: str, step: object
) -> None:
    seen = len(hobby_cloud.journal())
    wanted = hobby_cloud.other()
    process = hobby_cloud.begin("promote", "--image", wanted)
    hobby_cloud.wait_for(seen, event, step)
    kill(process)
    refused = hobby_cloud.told("promote", "--image", wanted, code=1)
    assert "cut short" in refused["error"]
    hobby_cloud.told("promote", "--resume")
    assert hobby_cloud.other() != wanted
    assert hobby_cloud.told("status")["lease"]["held"] is False
    assert "nothing to resume" in hobby_cloud.told("promote", "--resume")["notes"][0]
