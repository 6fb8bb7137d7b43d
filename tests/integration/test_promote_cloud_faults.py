"""A cloud's API that fails in the middle of a promote, the operator's end, and what a promote asks.

Users are at work through each case, and none of their requests may fail: the swap itself is between
the two servers, and what served before hands on requests until the address has moved.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from images.promote.lease import TERM
from tests.emulators.faults import Fault
from tests.emulators.served import Api
from tests.integration.deployment import NAME, kill
from tests.integration.playing import at_rest, last_word
from tests.integration.rented import WHERE, Rented, rented
from tests.load.ledger import counts, read_requests

pytestmark = [pytest.mark.root, pytest.mark.full]

RATE = 20.0
"""Requests a second."""

MOVE: Final = {
    "hetzner": r"/floating_ips/\d+/actions/assign",
    "digitalocean": r"/v2/reserved_ips/[^/]+/actions",
}
"""The request by which the address moves; at Hetzner there is one for each family."""

ADDRESSES: Final = {"hetzner": 2, "digitalocean": 1}
"""Requests of a move that need an answer: who looks finds that one was done, and asks no more."""

LIMITS: Final = {"hetzner": 3600, "digitalocean": 5000}
"""Requests an hour that a project, or a token, has (Hetzner Cloud API, "Rate Limiting";
DigitalOcean API, "Rate Limit")."""

AT_THE_MOVE: Final = {
    "refused": Fault("refuse", status=503, code="unavailable", times=3),
    "not reached": Fault("down", times=3),
    "done without an answer": Fault("lose"),
    "begun and failed": Fault("fail", code="server_error", times=2),
    "answered late": Fault("late", seconds=20.0),
}


@pytest.fixture(scope="module", params=WHERE)
def cloud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rented]:
    """One server serves, another one follows it."""
    folder = tmp_path_factory.mktemp("rented")
    with rented(request.param, folder, ", confirm: 1, drain: 4}") as found:
        found.told("promote", "--image", f"{NAME}@2")
        yield found


@pytest.fixture
def api(cloud: Rented) -> Iterator[Api]:
    """The cloud's API, which is well again in the end."""
    assert cloud.emulator is not None
    yield cloud.emulator
    mended(cloud.emulator)


def mended(api: Api) -> None:
    api.faults.clear()
    api.tokens = {"token": "write"}


@contextmanager
def undisturbed(cloud: Rented) -> Iterator[Path]:
    """Users notice nothing of what is done to the API, and what serves in the end is what was to;
    the folder of their books."""
    wanted = cloud.other()
    with cloud.users(RATE, slow=False) as books:
        yield books
        assert at_rest(cloud.told("status"))
        time.sleep(1)
    requests = read_requests(books)
    found = counts(requests)
    wrong = Counter((one.kind, one.how, one.status, one.error) for one in requests if one.error)
    assert (found["failed"], found["cut"]) == (0, 0), f"{found}\n{wrong.most_common(9)}"
    difference = cloud.difference(books)
    assert not any((difference.lost, difference.doubled, difference.altered)), difference
    active = cloud.active()
    assert active.labels["image"] == wanted
    assert cloud.provider.floating_ip(NAME).server == active.id
    print(f"\n{found}")


@pytest.mark.parametrize("what", AT_THE_MOVE)
def test_the_move_is_asked_for_until_it_is_done(cloud: Rented, api: Api, what: str) -> None:
    name = cloud.provider.name
    wanted = replace(AT_THE_MOVE[what], method="POST", path=MOVE[name])
    times = ADDRESSES[name] if wanted.kind == "lose" else wanted.times
    fault = api.faults.add(replace(wanted, times=times))  # which counts down
    with undisturbed(cloud):
        told = cloud.told("promote", "--image", cloud.other())
        assert told["rolled_back"] is False
    assert fault.seen == times


def test_a_token_that_is_revoked_before_the_move(cloud: Rented, api: Api) -> None:
    """The error says what to do; with a good one it goes on."""
    seen = len(cloud.journal())
    with undisturbed(cloud):
        process = cloud.begin("promote", "--image", cloud.other())
        cloud.wait_for(seen, "begins", 12)
        api.tokens = {}
        assert process.wait() == 1
        said = last_word(cloud.log)
        assert "step 12" in said["error"], said
        assert "token" in cloud.log.read_text()
        mended(api)
        assert cloud.told("promote", "--resume")["rolled_back"] is False


@pytest.mark.parametrize("step", [3, 12])
def test_an_api_that_is_down_for_longer_than_the_lease(cloud: Rented, api: Api, step: int) -> None:
    """The two servers need no API between them; the operator stops when its lease is lost."""
    seen = len(cloud.journal())
    with undisturbed(cloud):
        process = cloud.begin("promote", "--image", cloud.other())
        cloud.wait_for(seen, "begins", step)
        api.faults.add(Fault("down", times=1 << 30))
        time.sleep(TERM + 15)
        mended(api)
        assert process.wait() in (0, 1)
        if last_word(cloud.log).get("error"):
            cloud.told("promote", "--resume")


@pytest.mark.parametrize("step", [2, 3, 12, 13])
def test_the_operator_dies(cloud: Rented, api: Api, step: int) -> None:
    seen = len(cloud.journal())
    with undisturbed(cloud):
        process = cloud.begin("promote", "--image", cloud.other())
        cloud.wait_for(seen, "begins", step)
        kill(process)
        assert cloud.told("promote", "--resume")["rolled_back"] is False


def test_a_promote_asks_little(cloud: Rented, api: Api) -> None:
    """Beside what an hour allows: the figures of the documentation."""
    before = len(api.log)
    told = cloud.told("promote", "--image", cloud.other())
    asked = Counter(one.method for one in api.log[before:])
    print(f"\n{cloud.provider.name}: {dict(asked)} in {told['seconds']} s")
    assert asked.total() < LIMITS[cloud.provider.name] / 10
    assert not api.wrong()
    assert not api.wrong_answers()
