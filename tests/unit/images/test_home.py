"""The home folder: where it is found, whole writes, one build at a time."""

import fcntl
import json
from pathlib import Path

import pytest

from images.home import Home, build_lock, find_home, need_space, write_whole
from specs.errors import BakehouseError, UsageError


def test_home_is_what_was_given_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEHOUSE_HOME", "/srv/one")
    assert find_home("/srv/two").root == Path("/srv/two")
    assert find_home().root == Path("/srv/one")
    monkeypatch.delenv("BAKEHOUSE_HOME")
    assert find_home().root.name == "bakehouse"


@pytest.mark.parametrize("name", ["a b", "a:b", "a,b", "a\nb", "a%20b", 'a"b', "[a]", "a\\b"])
def test_a_path_that_mounts_would_take_apart_is_no_home(name: str) -> None:
    with pytest.raises(UsageError, match="cannot keep images"):
        find_home(f"/srv/{name}")


def test_write_whole_replaces_and_leaves_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.json"
    write_whole(target, "one")
    write_whole(target, "two")
    assert target.read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == ["b.json"]


def test_the_lock_names_its_holder_to_who_waits(tmp_path: Path) -> None:
    home = Home(tmp_path)
    told: list[str] = []
    with build_lock(home, "build-image web", told.append):
        holder = json.loads((tmp_path / "build.lock").read_text())
        assert holder["purpose"] == "build-image web"
        with (tmp_path / "build.lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert told == []
    assert (tmp_path / "build.lock").read_text() == ""


def test_too_little_room_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BakehouseError, match=r"a bake needs 1000000000000\.0 GB") as caught:
        need_space(tmp_path, 10**21, "a bake")
    assert "BAKEHOUSE_HOME" in caught.value.hint
