"""A former blue that becomes a copy again: what it still writes ends before the mirror begins."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from images.server import peer, prepare, state

SERVER: Final[dict[str, Any]] = {
    "postgres": None,
    "data": {"paths": []},
    "borg": None,
    "apps": [{"name": "guestbook", "kind": "web", "volumes": ["uploads"], "ports": [20000]}],
}
ROLE = {
    "epoch": 3,
    "state": "following",
    "boot": "b",
    "deadline": 0.0,
    "pending": False,
    "claimed": 1,
}
STOP: Final = ["systemctl", "--no-ask-password", "stop", "bakehouse-app@guestbook.service"]


class Process:
    """A process that says yes to what it is asked, and ends well."""

    ran: list[list[str]]
    returncode = 0

    def __init__(self, argv: Sequence[str], **_: Any) -> None:
        self.ran.append(list(argv))
        reading, writing = os.pipe()
        os.write(writing, b'{"ok": true}\n' * 9)
        os.close(writing)
        self.stdin, self.stdout = io.BytesIO(), os.fdopen(reading, "rb")

    def communicate(self) -> tuple[str, str]:
        self.kill()
        return "", ""

    def kill(self) -> None:
        self.stdin.close()
        self.stdout.close()

    def wait(self) -> int:
        return 0


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is run on a server that follows, in order."""
    for name in ("ETC", "RUN", "LIB", "DATA"):
        monkeypatch.setattr(state, name, tmp_path / name)
        (tmp_path / name).mkdir()
    for name, path in (("ROLE", "LIB/role.json"), ("BOOT_ID", "boot_id")):
        monkeypatch.setattr(state, name, tmp_path / path)
    (tmp_path / "ETC/server.json").write_text(json.dumps(SERVER))
    (tmp_path / "LIB/role.json").write_text(json.dumps(ROLE))
    (tmp_path / "boot_id").write_text("b\n")
    found: list[list[str]] = []
    monkeypatch.setattr(Process, "ran", found, raising=False)

    def run(argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        found.append(list(argv))
        said = "active\n" * len(argv[2:]) if "is-active" in argv else ""
        return subprocess.CompletedProcess(list(argv), 0, said, "")

    for name in ("LET_IN", "CARD", "CONFIG", "KNOWN"):
        monkeypatch.setattr(peer, name, tmp_path / name)
    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(subprocess, "run", run)
    return found


def test_apps_with_files_end_before_the_mirror_begins(ran: list[list[str]]) -> None:
    """An upload that ran at the hold would be overwritten under its hand, and yet be answered."""
    prepare.prepare({"epoch": 4})
    stop = ran.index(STOP)
    passes = [number for number, argv in enumerate(ran) if argv[0] == "rsync"]
    assert passes and stop < passes[0]


def test_nobody_is_answered_whose_file_no_one_carries_any_more(ran: list[list[str]]) -> None:
    """The next swap's green takes this server's place as the peer, minutes after the last one."""
    peer.part()
    assert ran.index(STOP) < ran.index(["systemctl", "stop", peer.UNIT])


def test_a_server_that_serves_goes_on_when_it_loses_its_peer(ran: list[list[str]]) -> None:
    state.ROLE.write_text(json.dumps({**ROLE, "state": "serving"}))
    peer.part()
    assert STOP not in ran
