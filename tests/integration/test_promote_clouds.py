"""The whole chain by the command line over a cloud: the vendor's own client talks to an emulator
of its API, whose servers are real, and users are at work all the time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from tests.emulators.digitalocean import DigitalOcean
from tests.emulators.hetzner import Hetzner
from tests.integration.deployment import NAME
from tests.integration.rented import WHERE, Rented, rented
from tests.load.ledger import counts, read_requests

pytestmark = [pytest.mark.root, pytest.mark.full]

RATE = 40.0
"""Requests a second."""


@pytest.fixture(scope="module", params=WHERE)
def cloud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rented]:
    with rented(request.param, tmp_path_factory.mktemp("rented")) as found:
        yield found


def test_promote_and_rollback_lose_nothing(cloud: Rented) -> None:
    with cloud.users(RATE) as books:
        time.sleep(3)
        promoted = cloud.told("promote", "--image", f"{NAME}@2")
        assert (promoted["generation"], promoted["rolled_back"]) == (2, False)
        back = cloud.told("rollback")
        assert (back["generation"], back["rolled_back"]) == (1, False)
        time.sleep(2)
    requests = read_requests(books)
    found = counts(requests)
    wrong = [one for one in requests if one.error]
    assert (found["failed"], found["cut"]) == (0, 0), wrong
    assert found["requests"] > 10 * RATE
    difference = cloud.difference(books)
    assert not any((difference.lost, difference.doubled, difference.altered)), difference
    print(f"\n{found}; write pauses {promoted['write_pause_seconds']} s, ", end="")
    print(f"{back['write_pause_seconds']} s; {promoted['seconds']:.0f} s, {back['seconds']:.0f} s")


def test_another_machine_goes_by_the_provider_alone(cloud: Rented) -> None:
    """Its home has the images, the operator's key and the CA, and nothing of the servers."""
    shutil.rmtree(cloud.home.root / "promote" / NAME)
    states = {server["label"]: server["state"] for server in cloud.told("status")["servers"]}
    assert states == {"active": "serving", "standby": "following"}


def test_what_was_said_fits_the_vendor_s_document(cloud: Rented) -> None:
    """All that our client asked, and all that the emulator answered."""
    assert cloud.emulator is not None
    assert not cloud.emulator.wrong()
    assert not cloud.emulator.wrong_answers()
    print(f"\n{cloud.emulator.agents()}")


def test_nothing_is_left_that_costs(cloud: Rented) -> None:
    """The last test: what each guide says of getting rid of it all."""
    listed = cloud.told("destroy")
    assert len(listed["left"]) >= 4 and listed["freed"] == []
    assert len(cloud.told("destroy", "--confirm", NAME)["freed"]) == len(listed["left"])
    assert isinstance(cloud.emulator, Hetzner | DigitalOcean)
    left = {kind: found for kind, found in cloud.emulator.left().items() if found}
    operator = ["bakehouse operator"]
    assert left.pop("keys", operator) == operator  # at DigitalOcean, for all specs
    assert left == {}
