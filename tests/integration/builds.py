"""Builds as processes, of small servers whose names are their own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from images import store
from images.home import Home
from images.mounts import mounts_below
from images.run import Process, Result, run, start
from specs.lock import parse

ROOT = Path(__file__).parents[2]
MARK = "BAKEHOUSE_TEST_BUILD"
"""In the environment of every process that a build under test starts."""

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


@contextmanager
def small_server(folder: Path, home: Home) -> Iterator[Path]:
    name = f"t{os.getpid()}-{time.monotonic_ns() % 10**6}"
    (folder / "site").mkdir()
    (folder / "site/index.html").write_text("<h1>hello</h1>")
    file = folder / "server.yaml"
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
