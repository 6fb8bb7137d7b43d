"""Locked packages on their way into the cache: tampered, dropped, interrupted, at once."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from images import archive
from images.archive import cached
from images.archive.fetch import Places, bring
from images.home import Home
from images.run import run, start
from specs.lock import dump
from tests.integration.lock.bench import OURS, Bench, failing


def test_a_tampered_package_never_enters_the_cache(bench: Bench) -> None:
    lock = bench.lock()
    tool = lock.sets["tools"][0]
    file = bench.debs.root / tool.path
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    error = failing(lambda: bench.fetch(lock))
    assert "  tool 1 (extra): another file is there" in error.message
    assert "invoke update" in error.hint
    assert not cached(bench.home, tool).exists()
    assert cached(bench.home, lock.sets["base"][0]).exists()


def test_dropped_packages_are_all_named(bench: Bench) -> None:
    lock = bench.lock()
    bench.debs.drop("app", "1")
    bench.debs.drop("tool", "1")
    error = failing(lambda: bench.fetch(lock))
    assert error.message.splitlines() == [
        "2 locked packages cannot be had:",
        "  app 1 (extra): not there any more",
        "  tool 1 (extra): not there any more",
    ]
    assert "run `invoke update`" in error.hint


def test_the_snapshot_archive_has_what_the_archive_dropped(bench: Bench, tmp_path: Path) -> None:
    lock = bench.lock()
    tool = lock.sets["tools"][0]
    date = datetime.fromtimestamp(lock.epoch, UTC).strftime("%Y%m%dT%H%M%SZ")
    (bench.debs.root / f"old/extra/{date}").mkdir(parents=True)
    old = shutil.move(bench.debs.root / "pool", bench.debs.root / f"old/extra/{date}/pool")
    pattern = f"{bench.debs.uri}/old/{{archive}}/{{date}}/{{path}}"
    places = Places({"extra": bench.debs.uri}, pattern, lock.epoch)
    bring(lock.packages(), places, bench.home, bench.said.append)
    assert cached(bench.home, tool).exists()
    assert bench.said[-2:] == [
        "asking the snapshot archive for 4 packages",
        f"fetched 4 of 4 packages, {sum(p.size for p in lock.packages()) / 1e6:.1f} MB",
    ]
    shutil.rmtree(old)
    elsewhere = replace(bench, home=Home(tmp_path / "elsewhere"))
    error = failing(lambda: bring([tool], places, elsewhere.home, bench.said.append))
    assert "tool 1 (extra): not there any more; the snapshot archive: not there" in error.message


def test_a_corrupt_cache_entry_is_fetched_again(bench: Bench) -> None:
    lock = bench.lock()
    bench.fetch(lock)
    tool = lock.sets["tools"][0]
    whole = cached(bench.home, tool).read_bytes()
    cached(bench.home, tool).write_bytes(bytes(len(whole)))
    bench.debs.asked.clear()
    bench.fetch(lock)
    assert cached(bench.home, tool).read_bytes() == whole
    assert dict(bench.debs.asked) == {tool.path: 1}


def test_a_failure_that_passes_is_tried_again(bench: Bench) -> None:
    lock = bench.lock()
    tool = lock.sets["tools"][0]
    bench.debs.failing[tool.path] = 1
    bench.fetch(lock)
    assert cached(bench.home, tool).exists()


def test_without_a_network_the_hint_is_the_network(bench: Bench) -> None:
    lock = bench.lock()
    bench.debs.uri = "http://127.0.0.1:9"
    error = failing(lambda: bench.fetch(lock))
    assert "tool 1 (extra): cannot be reached" in error.message
    assert "check the network" in error.hint


FETCH = """
import sys
from pathlib import Path
from images.archive.cache import lacking
from images.archive.fetch import Places, bring
from images.home import Home
from specs.lock import parse
lock, home, uri = parse(Path(sys.argv[1]).read_text(), "x"), Home(Path(sys.argv[2])), sys.argv[3]
bring(lock.packages(), Places({"extra": uri}), home, lambda line: None)
print(len(lacking(home, lock.packages())))
"""


@pytest.mark.root
def test_processes_that_fetch_at_once_do_not_disturb_each_other(
    bench: Bench, tmp_path: Path
) -> None:
    """Each in a process namespace of its own, as builds are, so that their numbers are the same."""
    lock = bench.lock()
    file = tmp_path / "web.lock"
    file.write_text(dump(lock))
    alone = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", FETCH]
    command = [*alone, str(file), str(bench.home.root), bench.debs.uri]
    script = " & ".join(['"$@"'] * 4)
    result = run(["sh", "-c", f"{script} & wait", "sh", *command], env=OURS)
    assert result.stdout.split() == ["0"] * 4
    assert not list(bench.home.work.iterdir())


@pytest.mark.root
def test_a_killed_download_leaves_nothing_that_is_taken_for_whole(
    bench: Bench, tmp_path: Path
) -> None:
    lock = bench.lock()
    file, tool = tmp_path / "web.lock", lock.sets["tools"][0]
    file.write_text(dump(lock))
    bench.debs.stalling = tool.path
    alone = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", FETCH]
    command = [*alone, str(file), str(bench.home.root), bench.debs.uri]
    process = start(command, output=tmp_path / "log", env=OURS)
    assert bench.debs.stalled.wait(60), (tmp_path / "log").read_text()
    os.kill(process.pid, signal.SIGKILL)
    process.stop()
    assert tool in archive.cache.lacking(bench.home, lock.packages())
    bench.debs.stalling = ""
    bench.debs.going_on.set()
    bench.fetch(lock)
    assert not archive.cache.lacking(bench.home, lock.packages())
