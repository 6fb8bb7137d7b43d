"""What a process in namespaces of its own keeps from others, and what it does not hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from images.run import run

pytestmark = pytest.mark.root

ISOLATED = """
import sys, time
from images.isolation import isolate
from images.run import run
isolate()
run(["mount", "-t", "tmpfs", "own", sys.argv[1]])
print("isolated", flush=True)
sys.stdin.read()
"""

HOST = """
set -eu
mount --make-rshared /
mount -o loop "$1/disk" "$1/theirs"
mkfifo "$1/stop"
"$2" -c "$3" "$1/own" <"$1/stop" >"$1/said" &
exec 3>"$1/stop"
until grep -q isolated "$1/said"; do sleep 0.05; done
umount "$1/theirs"
for _ in $(seq 100); do [ -n "$(losetup -j "$1/disk")" ] || break; sleep 0.05; done
echo "loops: $(losetup -j "$1/disk" | wc -l)"
echo "mounts: $(grep -c " $1/own " /proc/self/mounts || true)"
exec 3>&-
wait
"""
"""A machine whose mounts are shared, as systemd makes them, for as long as this runs."""


def test_a_disk_that_others_unmount_is_not_held(tmp_path: Path) -> None:
    """And what is mounted within is not seen without."""
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(16 << 20)
    run(["mkfs.ext4", "-q", str(tmp_path / "disk")])
    for name in ("theirs", "own"):
        (tmp_path / name).mkdir()
    words = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", HOST, "sh"]
    done = run([*words, str(tmp_path), sys.executable, ISOLATED], timeout=60)
    assert done.stdout.split("\n")[:2] == ["loops: 0", "mounts: 0"]
