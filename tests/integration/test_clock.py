"""The same bits at another date and hour."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from images.home import Home, find_home
from images.run import run
from tests.integration.builds import ROOT, build, invoke, last, small_server

pytestmark = pytest.mark.root

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
def test_another_date_and_hour_make_the_same_bits(tmp_path: Path) -> None:
    home = find_home()
    with small_server(tmp_path, home) as spec:
        compare(spec, home, tmp_path)


def compare(spec: Path, home: Home, tmp_path: Path) -> None:
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
