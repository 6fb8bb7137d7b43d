"""What can go is told with its size, and goes."""

from __future__ import annotations

import os
from pathlib import Path

from images.garbage import Garbage, collect, size_of, summary


def test_everything_goes_in_its_order_and_is_told(tmp_path: Path) -> None:
    done: list[str] = []
    told: list[str] = []
    found = [
        Garbage("server shop-1, given-up", 3_400_000, lambda: done.append("server")),
        Garbage("network bhc-1", 0, lambda: done.append("network")),
    ]
    collect(found, told.append)
    assert done == ["server", "network"]
    assert told == ["freed server shop-1, given-up (3 MB)", "freed network bhc-1"]
    assert summary(found) == "2 things, 3 MB"
    assert summary([]) == "nothing to free"
    assert found[0].as_data() == {"what": "server shop-1, given-up", "bytes": 3_400_000}


def test_holes_take_no_room(tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb") as file:
        os.truncate(file.fileno(), 1 << 30)
    (tmp_path / "gone").symlink_to("nowhere")
    assert size_of(tmp_path) < 1 << 20
    (tmp_path / "full").write_bytes(b"x" * (2 << 20))
    assert size_of(tmp_path) >= 2 << 20
