"""Where packets to a translated floating IP arrive."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from images.server import arrival
from images.server.state import ProgramError


def routes(monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> None:
    """What `ip route get` says."""
    done = subprocess.CompletedProcess([], code, text, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)


def test_an_anchor_address_is_preferred(tmp_path: Path) -> None:
    public = [{"anchor_ipv4": {"ip_address": "10.17.0.5"}}]
    told = {"ds": {"meta_data": {"interfaces": {"public": public}}}}
    (tmp_path / "instance").write_text(json.dumps(told))
    assert arrival.here(tmp_path / "instance") == "10.17.0.5"


def test_without_one_it_is_the_way_to_the_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes(monkeypatch, 0, '[{"prefsrc": "198.51.100.7"}]')
    assert arrival.here(tmp_path / "none") == "198.51.100.7"


@pytest.mark.parametrize(("code", "text"), [(2, ""), (0, "[]"), (0, "[{}]")])
def test_where_neither_is_known_nothing_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, text: str
) -> None:
    """The rules of an address that arrives as it is would miss every packet."""
    routes(monkeypatch, code, text)
    with pytest.raises(ProgramError, match="no anchor address and no route"):
        arrival.here(tmp_path / "none")
