"""Work in namespaces of its own comes back, with its error, and ends with whoever wanted it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from images.apart import apart
from images.build import UnprovenError
from images.run import CommandError, run

pytestmark = pytest.mark.root


def test_a_result_comes_back_from_other_namespaces() -> None:
    mounts = apart(lambda: Path("/proc/self/ns/mnt").readlink())
    assert mounts != Path("/proc/self/ns/mnt").readlink()


def test_an_error_comes_back_as_what_it_is() -> None:
    def fail() -> None:
        raise UnprovenError("its service does not answer", "look at it")

    with pytest.raises(UnprovenError) as caught:
        apart(fail)
    assert (caught.value.message, caught.value.hint) == (
        "its service does not answer",
        "look at it",
    )


def test_an_error_with_arguments_of_its_own_comes_back() -> None:
    with pytest.raises(CommandError, match="exit code 1"):
        apart(lambda: run(["false"]))


def test_it_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"

    def work() -> None:
        mark.write_text("runs")
        while True:
            mark.touch()
            time.sleep(0.05)

    child = os.fork()
    if child == 0:
        apart(work)
        os._exit(1)
    while not mark.exists() or not mark.read_text():
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    last = 0
    while (now := mark.stat().st_mtime_ns) != last:  # it is touched as long as it lives
        last = now
        time.sleep(0.5)
