"""The whole chain by the command line over a cloud: the vendor's own client talks to an emulator
of its API, whose servers are real, and users are at work all the time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from images.promote.lease import newest
from images.providers.base import Server
from images.run import run
from images.ssh import known_host, make_key
from tests.emulators.digitalocean import DigitalOcean
from tests.emulators.hetzner import Hetzner
from tests.integration.deployment import NAME
from tests.integration.rented import WHERE, Rented, rented
from tests.load.ledger import counts, read_requests

pytestmark = [pytest.mark.root, pytest.mark.full]

PENALTY = 620.0
"""Seconds after which a server has forgotten whoever came with a wrong key (sshd_config(5))."""

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


def test_a_machine_without_the_keys_calls_nothing_dead(cloud: Rented) -> None:
    """A clone of the repository on a new machine: until it has the keys it can do no harm."""
    root = cloud.home.root
    shutil.rmtree(root / "promote" / NAME)
    lease = newest(cloud.provider, NAME)
    with _away(root / "ca"):
        _locked_out(cloud, "the CA that signed the host key")
        assert "not on this machine" in cloud.told("known-hosts", code=2)["error"]
        assert "not on this machine" in cloud.told("host-keys", "--renew", code=1)["error"]
        assert not (root / "ca").exists()
    with _away(root / "operator"):
        _locked_out(cloud, "opens no server that another one made")
        shutil.rmtree(root / "promote" / NAME)
        make_key(_made(root / "operator"))
        _locked_out(cloud, " answers, and ")  # it is not let in, then sent away at once
        shutil.rmtree(root / "operator")
    shutil.rmtree(root / "promote" / NAME)
    assert newest(cloud.provider, NAME) == lease
    assert cloud.active().status == "running"
    _sent_away(cloud)


def _sent_away(cloud: Rented) -> None:
    """Who came with a wrong key waits until the servers have forgotten it, and sees why."""
    deadline = time.monotonic() + PENALTY
    while True:
        servers = {one["label"]: one for one in cloud.told("status")["servers"]}
        if all(one["state"] for one in servers.values()):
            break
        assert all(one["state"] or one["locked_out"] for one in servers.values()), servers
        assert time.monotonic() < deadline, servers
        time.sleep(5)
    states = {label: one["state"] for label, one in servers.items()}
    assert states == {"active": "serving", "standby": "following"}


def _locked_out(cloud: Rented, why: str) -> None:
    """Every verb says so, and does nothing."""
    for server in cloud.told("status")["servers"]:
        assert why in server["silence"], server
        assert server["locked_out"]
    loss = ["--blue-lost", "--accept-loss", "I accept an unknown loss"]
    for words in (["promote", "--image", cloud.other()], ["promote", *loss], ["rollback"]):
        assert why in cloud.told(*words, code=1)["error"]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def _away(folder: Path) -> Iterator[None]:
    """A folder of the home is not there."""
    aside = folder.with_name(f"{folder.name}.aside")
    folder.rename(aside)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def test_whoever_lost_the_keys_comes_in_as_the_guide_says(cloud: Rented, tmp_path: Path) -> None:
    """By a person's own key: a new operator's key, the servers' host keys, a new CA."""
    servers, root = cloud.provider.servers(NAME), cloud.home.root
    for folder in ("operator", "ca"):
        (root / folder).rename(tmp_path / folder)
    own = tmp_path / "operator/key"
    shutil.rmtree(root / "promote" / NAME)
    made = make_key(_made(root / "operator"))
    for server in servers:
        there = _person(server, own, "cat /etc/ssh/ssh_host_ed25519_key.pub")
        known = root / "promote" / NAME / server.name / "known_hosts"
        known.parent.mkdir(parents=True)
        known.write_text(known_host(there, server.name))
        _person(server, own, "sudo tee -a /etc/ssh/authorized_keys.d/deploy.boot", made.public)
    renewed = cloud.invoke("host-keys", "--renew")
    assert all(server.name in renewed.stdout for server in servers)
    assert "made the CA that signs host keys" in renewed.stderr
    assert (
        cloud.told("known-hosts")["line"].split()[-2] in (root / f"ca/{NAME}/key.pub").read_text()
    )
    back = cloud.told("promote", "--image", cloud.other())
    assert back["rolled_back"] is False


def _person(server: Server, key: Path, line: str, stdin: str = "") -> str:
    """A person's own ssh, which knows the server."""
    options = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
    words = ["ssh", "-Fnone", *options, "-oIdentityAgent=none", "-i", str(key)]
    return run([*words, f"deploy@{server.address}", line], stdin=f"{stdin}\n", timeout=60).stdout


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
