"""Secrets laid into memory by the server, and an app's environment completed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from images.server import credentials, runtime, state
from images.server.state import ProgramError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/run/bakehouse for this test."""
    monkeypatch.setattr(state, "RUN", tmp_path)
    monkeypatch.setattr(credentials, "SECRETS", tmp_path / "secrets")
    monkeypatch.setattr(runtime, "APPS", tmp_path / "apps")
    return tmp_path


def test_the_delivered_ones_are_all_that_are_there(folder: Path) -> None:
    assert credentials.place({"a": "1", "b": "2\n"}) == {"changed": ["a", "b"], "removed": []}
    (folder / "secrets/.b.new").write_text("half")
    found = credentials.place({"b": "2\n", "c": "ü"})
    assert found == {"changed": ["c"], "removed": [".b.new", "a"]}
    files = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    assert files == {"b": "2\n", "c": "ü"}
    assert {path.stat().st_mode & 0o777 for path in (folder / "secrets").iterdir()} == {0o600}
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '{"../a": "x"}', '{".a": "x"}', '{"a/b": "x"}', "hidden"]
)
def test_anything_else_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ProgramError) as caught:
        credentials.checked(text)
    assert "hidden" not in str(caught.value)


def told(folder: Path, app: str, values: dict[str, str]) -> None:
    path = folder / "apps" / app / "environment.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))


def test_a_container_gets_its_apps_secrets_and_no_others(folder: Path) -> None:
    told(folder, "shop", {"KEY": "one\ntwo", "TOKEN": "x"})
    told(folder, "other", {"OTHER": "y"})
    config = folder / "config.json"
    process = {"env": ["PATH=/bin", "KEY=of the image", "BAKEHOUSE_APP=shop"], "args": ["run"]}
    config.write_text(json.dumps({"process": process, "root": {"path": "rootfs"}}))
    words = ["--root", "/r", "create", "--bundle", str(folder), "id"]
    assert runtime.create(words) == words
    made = json.loads(config.read_text())
    assert made["process"]["env"] == ["PATH=/bin", "BAKEHOUSE_APP=shop", "KEY=one\ntwo", "TOKEN=x"]
    assert made["process"]["args"] == ["run"]
    assert made["root"] == {"path": "rootfs"}
    assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("env", [[], ["BAKEHOUSE_APP=none"], ["BAKEHOUSE_APP=../apps/shop"]])
def test_a_container_of_no_app_stays_as_it_is(folder: Path, env: list[str]) -> None:
    told(folder, "shop", {"KEY": "one"})
    assert runtime.completed({"env": env}) == {"env": env}


def test_a_process_that_joins_is_told_by_a_file_in_memory(folder: Path) -> None:
    told(folder, "shop", {"KEY": "one"})
    given = folder / "process"
    given.write_text(json.dumps({"env": ["BAKEHOUSE_APP=shop"]}))
    words = runtime.execute(["exec", "--process", str(given), "--detach", "id"])
    assert [words[0], words[1], *words[3:]] == ["exec", "--process", "--detach", "id"]
    assert words[2].startswith("/proc/self/fd/")
    handle = int(words[2].rpartition("/")[2])
    assert os.get_inheritable(handle)
    assert json.loads(Path(words[2]).read_text())["env"] == ["BAKEHOUSE_APP=shop", "KEY=one"]
    assert "KEY" not in given.read_text()
    os.close(handle)
    assert runtime.execute(["exec", "id", "true"]) == ["exec", "id", "true"]
