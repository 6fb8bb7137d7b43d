"""Who owns an app's files, and when an ended container starts again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images.server import caddy_env, state
from images.server.apps import may_work, numbers
from images.server.state import ProgramError
from images.server.watch_apps import LONGEST_DELAY, Restarts

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\nbroken\n"
GROUP = "root:x:0:\nnode:x:1001:\nstaff:x:50:node\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("node", (1000, 1001)),
        ("1000", (1000, 1001)),
        ("1234", (1234, 1234)),
        ("node:staff", (1000, 50)),
        ("root:root", (0, 0)),
        ("1234:77", (1234, 77)),
        ("65532:65532", (65532, 65532)),
    ],
)
def test_user_as_numbers(user: str, ids: tuple[int, int]) -> None:
    assert numbers(user, PASSWD, GROUP) == ids


@pytest.mark.parametrize("user", ["nobody", "node:nobody"])
def test_user_that_the_image_does_not_know(user: str) -> None:
    with pytest.raises(ProgramError, match="the image has no"):
        numbers(user, PASSWD, GROUP)


def test_first_end_is_mended_at_once_and_the_next_ones_later() -> None:
    restarts = Restarts()
    assert restarts.due("a", 100.0)
    assert not restarts.due("a", 100.5)
    assert restarts.due("a", 101.0)
    assert not restarts.due("a", 102.5)
    assert restarts.due("a", 103.0)
    assert restarts.due("b", 103.0)


def test_delay_has_a_limit_and_is_forgotten() -> None:
    restarts, now = Restarts(), 0.0
    for _ in range(20):
        while not restarts.due("a", now):
            now += 1
    assert restarts.delay["a"] == LONGEST_DELAY
    assert restarts.due("a", now + LONGEST_DELAY + 10)
    assert restarts.delay["a"] == 1.0


def test_a_running_delay_is_looked_at_soon() -> None:
    restarts = Restarts()
    assert not restarts.waiting(0.0)
    restarts.due("a", 0.0)
    assert restarts.waiting(0.5)
    assert not restarts.waiting(60.0)


@pytest.mark.parametrize(
    ("role", "postgres", "allowed"),
    [
        ("throwaway", None, True),
        ("primary", None, True),
        ("standby", None, False),
        ("throwaway", {"version": 17}, True),
        ("standby", {"version": 17}, False),
    ],
)
def test_workers_run_where_the_truth_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    postgres: dict[str, int] | None,
    allowed: bool,
) -> None:
    monkeypatch.setattr(state, "ETC", tmp_path)
    monkeypatch.setattr(state, "DATA", tmp_path)
    (tmp_path / "boot.json").write_text(json.dumps({"role": role}))
    (tmp_path / "server.json").write_text(json.dumps({"postgres": postgres}))
    assert may_work() is allowed


@pytest.mark.parametrize("role", ["standby", "throwaway"])
def test_only_a_primary_asks_a_certificate_authority(role: str) -> None:
    assert caddy_env.environment("primary", 3) == (
        "BAKEHOUSE_CADDY_GLOBAL=\nBAKEHOUSE_GENERATION=3\n"
    )
    assert caddy_env.environment(role, 0) == (
        "BAKEHOUSE_CADDY_GLOBAL=local_certs\nBAKEHOUSE_GENERATION=0\n"
    )
