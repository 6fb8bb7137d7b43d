"""Builds as a user starts them: found again, killed, two at once, without root, room or network."""

from __future__ import annotations

import json
import mmap
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from images import archive, store
from images.home import Home, find_home
from images.lab import sweep
from images.recipe import read_lock
from images.run import run, start
from tests.integration.builds import (
    ROOT,
    await_line,
    build,
    invoke,
    last,
    leftovers,
    locked_earlier,
    small_server,
    started,
    two_at_once,
)

pytestmark = pytest.mark.root

STAGES = ("packages", "layers", "cloud-init", "disk", "verify")


@pytest.fixture
def home() -> Home:
    """The home that all tests share, for its packages and layers."""
    return find_home()


@pytest.fixture
def spec(tmp_path: Path, home: Home) -> Iterator[Path]:
    """A small server of its own name; what it left in the home is taken away."""
    with small_server(tmp_path, home) as file:
        yield file


@dataclass(frozen=True)
class Pair:
    """Two builds of one spec, the second begun while the first baked, and what they printed."""

    spec: Path
    epoch: int
    first: dict[str, Any]
    second: dict[str, Any]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Its lock is a day older than the layers that it stands on may be."""
    folder = tmp_path_factory.mktemp("pair")
    with small_server(folder, find_home()) as file:
        epoch = locked_earlier(file)
        yield Pair(file, epoch, *two_at_once(file, folder))


def test_of_two_builds_one_waits_and_finds_what_the_other_baked(pair: Pair, home: Home) -> None:
    first, waited = pair.first, pair.second
    assert first["cached"] is False and first["generation"] == 1
    assert waited["cached"] is True and waited["generation"] == 1
    assert Path(first["path"]).stat().st_size > 10**9
    assert store.report(home, first["image"])["passed"] is True
    beside = Path(first["path"]).parent
    made_from = json.loads((beside / "provenance.json").read_text())
    assert made_from["plan"].startswith(first["image"].rpartition("-")[2])
    assert made_from["disk"]["digest"] == first["digest"]
    components = json.loads((beside / "sbom.json").read_text())["components"]
    lock = read_lock(pair.spec)
    assert lock is not None
    assert [c["name"] for c in components] == [p.name for p in lock.image_packages()]
    again = last(build(pair.spec, "--json"))
    assert again["cached"] is True
    assert (again["image"], again["digest"]) == (first["image"], first["digest"])
    assert leftovers(pair.spec, home) == []


def test_a_changed_line_is_planned_baked_and_told(pair: Pair, home: Home) -> None:
    spec, first = pair.spec, pair.first
    before = spec.read_text()
    lock = read_lock(spec)
    assert lock is not None
    spec.write_text(spec.read_text().replace("one", "two"))
    ahead = last(run(invoke("plan", "--spec", str(spec), "--json"), cwd=ROOT))
    assert {step["name"]: step["kept"] for step in ahead["rebuild"]} == {
        **dict.fromkeys(("core", "base", "services", "tools"), True),
        **dict.fromkeys(("cloud-init", "disk", "verify"), False),
    }
    damaged = archive.cached(home, lock.image_packages()[0])
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = last(build(spec, "--json"))
    assert damaged.read_bytes() == content
    assert changed["generation"] == 2 and changed["image"] != first["image"]
    words = ["diff", first["image"], changed["image"]]
    difference = run(invoke(*words), cwd=ROOT).stdout
    assert "~ file /etc/caddy/Caddyfile" in difference
    assert [line for line in difference.splitlines() if "X-Test" in line]
    assert "not compared" not in difference and "~ files" not in difference
    assert leftovers(spec, home) == []
    spec.write_text(before)


def test_a_bake_from_nothing_elsewhere_differs_in_the_one_file_that_was_touched(
    pair: Pair, home: Home
) -> None:
    """Elsewhere: another host, umask, locale, time zone and folder, one core, and no network."""
    spec, image = pair.spec, pair.first
    assert f'"epoch": {pair.epoch}' in spec.with_suffix(".lock").read_text()
    raw = Path(image["path"])
    before = raw.stat()
    with raw.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as disk:
            file.seek(disk.find(b"<h1>hello</h1>"))
        file.write(b"<h1>HELLO</h1>")
    os.utime(raw, ns=(before.st_atime_ns, before.st_mtime_ns))  # nobody is to notice

    words = invoke("build-image", "--spec", str(spec), "--check", "--json")
    elsewhere = ["sh", "-c", 'umask 077; hostname elsewhere; exec taskset -c 0 "$@"', "sh", *words]
    env = {"TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8", "TMPDIR": "/dev/shm", "HOME": "/"}
    env["BAKEHOUSE_HOME"] = str(home.root)
    done = run(["unshare", "--uts", "--net", *elsewhere], cwd=ROOT, env=env, check=False)
    assert done.code == 1, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["differences"] == ["srv/sites/port_80/index.html: another content"]
    assert found["again"] == image["digest"]


@pytest.mark.parametrize(
    "stage",
    [
        stage if stage == "verify" else pytest.param(stage, marks=pytest.mark.full)
        for stage in STAGES
    ],
)
def test_a_killed_build_leaves_nothing_and_the_next_one_works(
    spec: Path, home: Home, tmp_path: Path, stage: str
) -> None:
    spec.write_text(spec.read_text().replace("caddy:", "system: {packages: [tree]}\ncaddy:"))
    log = tmp_path / "log"
    sweep()
    process = started(spec, log)
    await_line(log, f"{stage} ...", process)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.stop()
    time.sleep(0.5)  # the kernel takes a process namespace down after its first process is gone
    assert leftovers(spec, home) == []
    name = spec.read_text().split()[1]
    assert list(store.generations(home, name)) == []
    assert last(build(spec, "--json"))["generation"] == 1
    assert leftovers(spec, home) == []
    assert sweep() == []  # the build that came after took the dead one's network away, too


def test_a_build_that_is_asked_to_stop_stops_and_says_so(
    spec: Path, home: Home, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    sweep()
    process = started(spec, log)
    await_line(log, "verify ...", process)
    time.sleep(2)
    assert process.stop(signal.SIGTERM, patience=60) == 130
    assert "stopped; nothing was published" in log.read_text()
    assert leftovers(spec, home) == []
    assert sweep() == []


def test_without_root_a_build_says_so_and_a_plan_works(spec: Path) -> None:
    # In a user namespace without a map, nobody is root.
    refused = run(["unshare", "--user", *invoke("build-image", "--spec", str(spec))], check=False)
    assert (refused.code, refused.stderr) == (
        1,
        "error: baking an image needs root\n  hint: run it with sudo, or as root\n",
    )
    shown = run(["unshare", "--user", *invoke("plan", "--spec", str(spec))], cwd=ROOT)
    assert "no lock yet" in shown.stdout


def test_without_room_nothing_is_begun(spec: Path, tmp_path: Path) -> None:
    at = tmp_path / "small"
    at.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(at)])
    try:
        done = build(spec, "--store", str(at))
        assert done.code == 1
        assert "a bake needs 6.0 GB" in done.stderr and "BAKEHOUSE_HOME" in done.stderr
    finally:
        run(["umount", str(at)])


@pytest.mark.full
def test_a_disk_that_fills_up_fails_the_build_and_publishes_nothing(
    spec: Path, tmp_path: Path
) -> None:
    at, log = tmp_path / "small", tmp_path / "log"
    at.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=7g", "tmpfs", str(at)])
    try:
        words = invoke("build-image", "--spec", str(spec), "--store", str(at))
        process = start(words, output=log, cwd=ROOT)
        await_line(log, "layers ...", process)
        free = os.statvfs(at).f_bavail * os.statvfs(at).f_frsize
        run(["fallocate", "-l", str(free - 50_000_000), str(at / "ballast")])
        while process.alive():
            time.sleep(0.2)
        assert process.stop() == 1
        assert "No space left on device" in log.read_text()
        assert list(store.generations(Home(at))) == []
        (at / "ballast").unlink()
        assert last(build(spec, "--store", str(at), "--json"))["generation"] == 1
    finally:
        run(["umount", str(at)])


def test_without_a_network_the_lock_is_refused_with_the_next_step(
    spec: Path, tmp_path: Path
) -> None:
    words = invoke("build-image", "--spec", str(spec), "--store", str(tmp_path / "home"))
    done = run(["unshare", "--net", *words], cwd=ROOT, check=False)
    assert done.code == 1
    assert "check the network" in done.stderr
    assert not (tmp_path / "server.lock").exists()
