"""Each server gets what its own image needs, or is told why it got nothing; one keeps no other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from images.promote import calling
from images.promote.job import ACTIVE, STANDBY
from images.promote.reach import LockedOutError
from images.run import CommandError
from images.secrets import servers, verbs
from images.ssh import Door
from specs.errors import UsageError
from specs.plan import ImagePlan
from tests.unit.images.promote.placed import NEW, SPEC_FILE, Place, deployed, recorded

OLD = "hobby-000000000001"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Two servers run; this machine has baked neither's image, and one tells its record."""
    place = deployed(tmp_path)
    place.add(1, OLD, STANDBY, 1, "following")
    place.add(2, NEW.id, ACTIVE, 3, "serving")
    place.records["hobby-g2-e3"] = recorded(NEW.id)

    def gather(*found: Any, named: str, baked: bool) -> Mapping[str, str]:
        assert isinstance(found[2], ImagePlan)
        assert (named, baked) in ((OLD, False), (NEW.id, False)), "a server told these plans"
        return {"stripe-key": "planted"}

    def deliver(_: Door, secrets: Mapping[str, str]) -> tuple[str, ...]:
        place.done.append("delivered")
        return tuple(secrets)

    monkeypatch.setattr(servers, "gather", gather)
    monkeypatch.setattr(servers, "deliver", deliver)
    monkeypatch.setattr(servers, "restart_readers", lambda *_: ("shop",))
    monkeypatch.setattr(calling, "site", lambda *_: place)
    return place


def test_a_server_of_an_unknown_image_is_refused_and_the_others_get_theirs(site: Place) -> None:
    unknown, known = servers.deliver_all(site)
    assert (known.server, known.changed, known.restarted) == (
        "hobby-g2-e3",
        ("stripe-key",),
        ("shop",),
    )
    assert site.done.count("delivered") == 1
    assert known.error is None and unknown.error is not None
    assert f"hobby-g1-e1 runs {OLD}" in unknown.error.message
    assert "machine that baked it" in unknown.error.hint
    assert unknown.line().startswith("hobby-g1-e1: nothing was delivered: ")
    site.locked.add("hobby-g1-e1")
    (locked, _) = servers.deliver_all(site)
    assert isinstance(locked.error, LockedOutError)


def test_one_that_fails_keeps_no_other_from_its_secrets(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.records["hobby-g1-e1"] = recorded(OLD)
    asked: list[str] = []

    def restart(*_: object) -> tuple[str, ...]:
        asked.append("restart")
        if len(asked) == 1:
            raise CommandError("systemctl try-restart", "exit code 1", "shop is not well")
        return ("shop",)

    monkeypatch.setattr(servers, "restart_readers", restart)
    failed, done = servers.deliver_all(site)
    assert failed.changed == ("stripe-key",) and failed.error is not None
    assert "stripe-key changed, but:" in failed.line()
    assert done.as_data() == {
        "server": "hobby-g2-e3",
        "changed": ["stripe-key"],
        "restarted": ["shop"],
    }


def test_a_server_that_is_off_is_left_alone(site: Place) -> None:
    site.provider.power_off("s1")
    assert [one.server for one in servers.deliver_all(site)] == ["hobby-g2-e3"]


def test_the_verb_ends_with_an_error_when_one_failed(
    site: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        verbs.secrets.body(Context(), do="deliver", spec=str(SPEC_FILE), json=True)
    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert [bool(one.get("error")) for one in told] == [True, False]
    site.records["hobby-g1-e1"] = recorded(OLD)
    verbs.secrets.body(Context(), do="deliver", spec=str(SPEC_FILE))
    assert "hobby-g1-e1: stripe-key changed; restarted: shop\n" in capsys.readouterr().out


def test_a_secret_that_is_nowhere_is_the_spec_s_fault(
    site: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_: object, **__: object) -> Mapping[str, str]:
        raise UsageError("1 secret is nowhere: stripe-key", "write it")

    monkeypatch.setattr(servers, "gather", nowhere)
    with pytest.raises(SystemExit) as ended:
        verbs.secrets.body(Context(), do="deliver", spec=str(SPEC_FILE))
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert "hobby-g2-e3: nothing was delivered: 1 secret is nowhere" in said.out
    assert "error: 2 of 2 servers" in said.err
