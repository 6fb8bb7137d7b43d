"""Who owns an app's files, and when an ended container starts again."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from images.server import apps, caddy_env, state
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


APP: dict[str, Any] = {
    "name": "wiki",
    "image": "wiki:1",
    "user": "",
    "database": False,
    "volumes": [],
    "secrets": [],
    "secret_environment": {},
    "release": [],
    "ports": [],
    "health": "",
}


class Docker:
    """Answers as Docker, whose image runs as `node`, and knows what it was told."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.told.append(command[1:])
        answers = {"image": b"node\n", "create": b"0123\n", "cp": archive(PASSWD)}
        return subprocess.CompletedProcess(command, 0, answers.get(command[1], b""), b"")

    @property
    def verbs(self) -> list[str]:
        return [words[0] for words in self.told]


def archive(text: str) -> bytes:
    """A tar archive of one file, as `docker cp` writes it."""
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    return found.getvalue()


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """A server's folders, and its Docker."""
    found = Docker()
    monkeypatch.setattr(subprocess, "run", found.run)
    monkeypatch.setattr(state, "ETC", tmp_path)
    monkeypatch.setattr(state, "RUN", tmp_path)
    return found


def test_whose_image_is_looked_into_leaves_no_container_and_no_volume(docker: Docker) -> None:
    assert apps.owner(APP) == (1000, 1001)
    assert docker.told[-1] == ["rm", "--volumes", "0123"]


def test_an_app_that_stops_leaves_no_volume_of_its_image(
    docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["apps", "stop", "wiki"])
    apps.main()
    (told,) = docker.told
    assert told[told.index("down") :] == ["down", "--volumes", "--timeout", "30"]


@pytest.mark.parametrize(
    ("wants", "missing"),
    [
        ({"secrets": ["greeting"]}, "its secret greeting is not there"),
        ({"secret_environment": {"KEY": "key"}}, "its secret key is not there"),
        ({"database": True}, "wiki.env is not there"),
    ],
)
def test_an_app_that_waits_makes_no_container(
    docker: Docker, tmp_path: Path, wants: dict[str, Any], missing: str
) -> None:
    """It tries again every 15 seconds."""
    (tmp_path / "server.json").write_text(json.dumps({"apps": [{**APP, **wants}]}))
    with pytest.raises(ProgramError, match=missing):
        apps.start("wiki")
    assert docker.verbs == []
