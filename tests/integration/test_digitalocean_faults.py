"""What goes wrong at DigitalOcean: the call ends as it should, and nothing is left over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from specs.errors import BakehouseError
from tests.emulators.faults import Fault
from tests.emulators.served import Allowance
from tests.integration.account import LEFT, Account, everything, opened, remove


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with opened(tmp_path) as found:
        yield found


def test_all_is_made_once_and_removed(account: Account) -> None:
    everything(account)
    assert account.paper.made == ["shop-g2-e1"]
    remove(account)
    assert account.emulator.left() == LEFT


POSTS = (
    "/v2/account/keys",
    "/v2/droplets",
    "/v2/droplets/[0-9]+/actions",
    "/v2/firewalls",
    "/v2/images",
    "/v2/reserved_ips",
    "/v2/reserved_ips/[^/]+/actions",
    "/v2/tags",
    "/v2/tags/[^/]+/resources",
    "/v2/volumes",
    "/v2/volumes/[^/]+/actions",
)


@pytest.mark.parametrize("kind", ["lose", "down", "refuse"])
@pytest.mark.parametrize("path", POSTS)
def test_a_request_without_an_answer_is_done_once(account: Account, path: str, kind: str) -> None:
    """Every POST of its kind, the first and each later one, has its answer lost once."""
    fault = Fault(kind, "POST", path, status=503, times=1)  # type: ignore[arg-type]
    skips = [Fault(kind, "POST", path, status=503, skip=1) for _ in range(3)]  # type: ignore[arg-type]
    for one in (fault, *skips):
        account.emulator.faults.add(one)
    everything(account)
    assert fault.seen == 1
    assert account.paper.made == ["shop-g2-e1"]
    remove(account)
    account.emulator.faults.clear()
    assert account.emulator.left() == LEFT


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
def test_what_may_be_repeated_is(account: Account, method: str) -> None:
    for skip in range(0, 12, 2):
        account.emulator.faults.add(Fault("lose", method, skip=skip))
        account.emulator.faults.add(Fault("refuse", method, status=429, skip=skip))
    everything(account)
    remove(account)
    account.emulator.faults.clear()
    assert account.emulator.left() == LEFT


@pytest.mark.parametrize("status", [423, 429, 500, 502, 503, 504])
def test_a_busy_api_is_asked_again(account: Account, status: int) -> None:
    for skip in range(0, 40, 4):
        account.emulator.faults.add(Fault("refuse", status=status, code="busy", skip=skip))
    everything(account)
    remove(account)
    account.emulator.faults.clear()
    assert account.emulator.left() == LEFT


@pytest.mark.parametrize(
    "path", ["/v2/droplets/[0-9]+/actions", "/v2/reserved_ips/[^/]+/actions", "/v2/volumes/.*"]
)
def test_an_action_that_fails_is_begun_again(account: Account, path: str) -> None:
    fault = account.emulator.faults.add(Fault("fail", "POST", path, code="internal"))
    everything(account)
    assert fault.seen == 1


def test_a_pending_event_is_waited_for(account: Account) -> None:
    """A droplet that is being made refuses everything else meanwhile."""
    account.emulator.actions.delay = 8.0
    everything(account)
    assert [one.status for one in account.emulator.log].count(422)


def test_the_limit_of_requests_is_kept_to(account: Account) -> None:
    account.emulator.allowance = Allowance(3, 1.0, account.time.clock)
    everything(account)
    assert [one.status for one in account.emulator.log].count(429)


def test_an_api_that_stays_away_is_told_and_nothing_is_made(account: Account) -> None:
    account.emulator.faults.add(Fault("down", times=10_000))
    with pytest.raises(BakehouseError, match="did not answer") as told:
        account.cloud.servers("shop")
    assert told.value.hint
    assert account.time.now < 400
    account.emulator.faults.clear()
    assert account.emulator.left()["droplets"] == []


def test_a_revoked_token_is_told_without_being_shown(account: Account) -> None:
    account.cloud.create_floating_ip("shop")
    account.emulator.tokens.clear()
    with pytest.raises(BakehouseError, match="401") as told:
        account.cloud.create_server(account.order())
    assert "docs/digitalocean.md" in told.value.hint
    assert "token" not in told.value.message.replace("unable to authenticate", "")


def test_a_token_that_may_only_read(account: Account) -> None:
    account.emulator.tokens["token"] = "read"
    account.cloud.servers("shop")
    with pytest.raises(BakehouseError, match="403") as told:
        account.cloud.make_note("n", {})
    assert "scope" in told.value.hint


def test_a_run_that_died_while_it_reserved_an_address(account: Account) -> None:
    account.emulator.faults.add(Fault("down", "POST", "/v2/reserved_ips", times=10_000))
    with pytest.raises(BakehouseError):
        account.cloud.create_floating_ip("shop")
    account.emulator.faults.clear()
    assert account.cloud.floating_ip("shop").v4 == ""
    api = account.cloud.api
    api.once(api.client.reserved_ips.create, body={"region": "fra1"})
    with pytest.raises(BakehouseError, match=r"203\.0\.113\.1") as told:
        account.cloud.create_floating_ip("shop")
    assert "deploy.floating_ip" in told.value.hint
    api.ask(api.client.reserved_ips.delete, "203.0.113.1")
    assert account.cloud.create_floating_ip("shop").v4
