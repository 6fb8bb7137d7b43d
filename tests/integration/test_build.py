"""Builds as a user starts them: found again, killed, two at once, without root, room or network."""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from images import archive, store
from images.home import Home, find_home
from images.lab import sweep
from images.mounts import mounts_below
from images.recipe import read_lock
from images.run import Process, Result, run, start
from specs.lock import parse

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
MARK = "BAKEHOUSE_TEST_BUILD"
"""In the environment of every process that a build under test starts."""

STAGES = ("packages", "layers", "cloud-init", "disk", "verify")
SPEC = """
name: {name}
caddy:
  sites:
    ":80":
      static: site
      headers:
        X-Test: {header}
"""


def invoke(*words: str) -> list[str]:
    return [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]


def build(spec: Path, *words: str) -> Result:
    command = invoke("build-image", "--spec", str(spec), *words)
    return run(command, cwd=ROOT, check=False, env={MARK: str(spec)})


def last(result: Result) -> dict[str, Any]:
    assert result.code == 0, result.stdout + result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.fixture
def home() -> Home:
    """The home that all tests share, for its packages and layers."""
    return find_home()


@pytest.fixture
def spec(tmp_path: Path, home: Home) -> Iterator[Path]:
    """A small server of its own name; what it left in the home is taken away."""
    name = f"t{os.getpid()}-{time.monotonic_ns() % 10**6}"
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("<h1>hello</h1>")
    file = tmp_path / "server.yaml"
    file.write_text(SPEC.format(name=name, header="one"))
    yield file
    images = {generation.image for generation in store.generations(home, name)}
    run(["rm", "-rf", str(home.generations / name), *(str(home.images / i) for i in images)])


def leftovers(spec: Path, home: Home) -> list[str]:
    """What a build of this spec left: processes, known by its mark, and mounts in the home.

    Other builds may run in the same home; each mounts in a namespace of its own.
    """
    found = mounts_below(home.work)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={spec}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def started(spec: Path, log: Path, *words: str) -> Process:
    command = invoke("build-image", "--spec", str(spec), *words)
    return start(command, output=log, cwd=ROOT, env={MARK: str(spec)})


def await_line(log: Path, text: str, process: Process) -> None:
    while text not in log.read_text():
        assert process.alive(), log.read_text()
        time.sleep(0.02)


def two_at_once(spec: Path, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What two builds, the second begun while the first bakes, have printed at their end."""
    logs = (folder / "log1", folder / "log2")
    one = started(spec, logs[0], "--json")
    await_line(logs[0], "packages ...", one)
    two = started(spec, logs[1], "--json")
    await_line(logs[1], "waiting for another build: build-image", two)
    while one.alive() or two.alive():
        time.sleep(0.2)
    told = tuple(log.read_text() for log in logs)
    assert (one.stop(), two.stop()) == (0, 0), told[0] + told[1]
    first, second = (json.loads(text.splitlines()[-1]) for text in told)
    return first, second


def test_an_image_is_baked_proven_found_and_compared(
    spec: Path, home: Home, tmp_path: Path
) -> None:
    first, waited = two_at_once(spec, tmp_path)
    assert first["cached"] is False and first["generation"] == 1
    assert waited["cached"] is True and waited["generation"] == 1
    assert Path(first["path"]).stat().st_size > 10**9
    assert store.report(home, first["image"])["passed"] is True
    beside = Path(first["path"]).parent
    made_from = json.loads((beside / "provenance.json").read_text())
    assert made_from["plan"].startswith(first["image"].rpartition("-")[2])
    assert made_from["disk"]["digest"] == first["digest"]
    components = json.loads((beside / "sbom.json").read_text())["components"]
    lock = read_lock(spec)
    assert lock is not None
    assert [c["name"] for c in components] == [p.name for p in lock.image_packages()]
    again = last(build(spec, "--json"))
    assert again["cached"] is True
    assert (again["image"], again["digest"]) == (first["image"], first["digest"])

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
    assert leftovers(spec, home) == []


def test_a_bake_from_nothing_elsewhere_differs_in_the_one_file_that_was_touched(
    spec: Path, home: Home
) -> None:
    """Elsewhere: another host, umask, locale, time zone and folder, one core, and no network."""
    earlier = locked_earlier(spec)
    image = last(build(spec, "--json"))
    assert f'"epoch": {earlier}' in spec.with_suffix(".lock").read_text()
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


def locked_earlier(spec: Path) -> int:
    """Lock a spec as if the archives had signed their indexes, of the same packages, a day before.

    Layers of packages may be kept from before, so they must not know the lock's date.
    """
    run(invoke("lock", "--spec", str(spec)), cwd=ROOT)
    file = spec.with_suffix(".lock")
    text = file.read_text()
    epoch = parse(text, str(file)).epoch
    file.write_text(text.replace(f'"epoch": {epoch}', f'"epoch": {epoch - 90_000}'))
    return epoch - 90_000


CLOCK = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
"""Debian's libfaketime. In a changed root it is found by way of the first process."""

SHIMS = {
    "systemd-nspawn": """
exec /usr/bin/systemd-nspawn --bind-ro="$LD_PRELOAD:/run/clock.so" \\
    --setenv=LD_PRELOAD=/run/clock.so --setenv=FAKETIME="$FAKETIME" \\
    --setenv=FAKETIME_DONT_FAKE_MONOTONIC=1 --setenv=NO_FAKE_STAT=1 "$@"
""",
    "mmdebstrap": """
LD_PRELOAD="/proc/1/root$LD_PRELOAD" exec /usr/bin/mmdebstrap "$@"
""",
    "unshare": """
for word; do
    shift
    set -- "$@" "$word"
    [ "$word" != TZ=UTC ] || set -- "$@" FAKETIME="$FAKETIME" FAKETIME_DONT_FAKE_MONOTONIC=1 \\
        NO_FAKE_STAT=1 LD_PRELOAD="/proc/1/root$LD_PRELOAD"
done
export LD_PRELOAD="/proc/1/root$LD_PRELOAD"
exec /usr/bin/unshare --mount --propagation private \\
    sh -ec 'mount --rbind /dev "$8/dev"; exec /usr/bin/unshare "$@"' sh "$@"
""",
}
"""What these start has an environment or a root of its own, and must be told of the clock, which
wants shared memory."""


@pytest.mark.full
@pytest.mark.skipif(not Path(CLOCK).exists(), reason="needs Debian's libfaketime")
def test_another_date_and_hour_make_the_same_bits(spec: Path, home: Home, tmp_path: Path) -> None:
    image = last(build(spec, "--json"))
    for name, text in SHIMS.items():
        shim = tmp_path / "bin" / name
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(f'#!/bin/sh\necho "$0 $(date +%Y)" >>{tmp_path}/called\n{text}')
        shim.chmod(0o755)
    env = {"LD_PRELOAD": CLOCK, "FAKETIME": "+5y", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    env |= {"NO_FAKE_STAT": "1"}  # or `cp -p` would keep times that no file has
    env |= {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "BAKEHOUSE_HOME": str(home.root)}
    words = invoke("build-image", "--spec", str(spec), "--check", "--json")
    done = run(words, cwd=ROOT, env=env, check=False)
    assert done.code == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["again"] == image["digest"]
    called = set((tmp_path / "called").read_text().split("\n")) - {""}
    year = time.gmtime().tm_year + 5
    assert called == {f"{tmp_path}/bin/{name} {year}" for name in SHIMS}


@pytest.mark.parametrize(
    "stage",
    [
        stage if stage in ("cloud-init", "verify") else pytest.param(stage, marks=pytest.mark.full)
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
