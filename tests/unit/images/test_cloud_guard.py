"""A call that is repeated for minutes asks again whether it may: somebody else may act by then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from images.home import Home
from images.promote.lease import LostLeaseError
from images.providers import digitalocean_api, hetzner_api
from images.providers.base import Provider, unguarded
from images.providers.digitalocean import DigitalOcean
from images.providers.hetzner import Hetzner
from images.providers.waiting import Waiting
from tests.unit.images.wire import Answer, wired


def hetzner(at: Path) -> tuple[Provider, dict[str, list[Answer]]]:
    return Hetzner(Home(at), hetzner_api.Api("token", waiting=now())), {
        "GET /v1/servers/1": [(200, {"server": {"id": 1, "status": "running"}})],
        "POST /v1/servers/1/actions/poweroff": [(0, None)],
    }


def digitalocean(at: Path) -> tuple[Provider, dict[str, list[Answer]]]:
    return DigitalOcean(Home(at), digitalocean_api.Api("token", waiting=now())), {
        "GET /v2/droplets/1": [(200, {"droplet": {"id": 1, "status": "active"}})],
        "POST /v2/droplets/1/actions": [(0, None)],
    }


def now() -> Waiting:
    """Time that passes by sleeping alone."""
    passed = [0.0]
    return Waiting(lambda s: passed.append(passed[-1] + s), lambda: passed[-1], lambda: 0.0, 30)


Cloud = Callable[[Path], tuple[Provider, dict[str, list[Answer]]]]


@pytest.mark.parametrize("cloud", [hetzner, digitalocean])
def test_the_lease_is_asked_for_before_each_attempt(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = wired(monkeypatch)
    provider, wire.answers = cloud(tmp_path)
    asked: list[int] = []

    def check() -> None:
        asked.append(len(asked))
        if len(asked) == 3:
            raise LostLeaseError("another run has taken it")

    provider.guard(check)
    with pytest.raises(LostLeaseError):
        provider.power_off("1")
    assert len([line for line in wire.sent if line.startswith("POST")]) == 2


@pytest.mark.parametrize("cloud", [hetzner, digitalocean])
def test_reading_asks_nobody(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check may read by the same provider."""
    wire = wired(monkeypatch)
    provider, answers = cloud(tmp_path)
    off = {"id": 1, "status": "off"}
    wire.answers = {asked: [(200, {"server": off, "droplet": off})] for asked in answers}

    def check() -> None:
        raise AssertionError("nothing was to be changed")

    provider.guard(check)
    provider.power_off("1")
    assert not [line for line in wire.sent if line.startswith("POST")]
    provider.guard(unguarded)
