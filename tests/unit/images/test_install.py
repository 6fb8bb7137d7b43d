"""Layers of packages: their names, and their clock."""

from __future__ import annotations

from pathlib import Path

from images.archive import cached
from images.disk import Base, Tools
from images.home import Home
from images.ovens import layers
from images.ovens.install import Layer, layer_id, newest
from specs.lock import LockedPackage


def package(home: Home, name: str, time: str) -> LockedPackage:
    """A cached package whose archive was written at `time`, in the form of ar(5)."""
    made = LockedPackage(name, "1", "all", "debian", f"pool/{name}.deb", f"{name:0>64}", 1)
    file = cached(home, made)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"!<arch>\n" + f"{'debian-binary':<16}{time:<12}0     0     ".encode())
    return made


def test_the_clock_of_a_layer_is_its_newest_packages(tmp_path: Path) -> None:
    home = Home(tmp_path)
    one, two = package(home, "1", "1700000000"), package(home, "2", "1600000000")
    assert newest(home, [one, two]) == newest(home, [two, one]) == 1_700_000_000
    assert newest(home, [two]) == 1_600_000_000


def test_a_package_without_a_time_counts_for_nothing(tmp_path: Path) -> None:
    assert newest(Home(tmp_path), [package(Home(tmp_path), "1", "")]) == 0


def test_a_layer_is_named_by_all_that_makes_it(tmp_path: Path) -> None:
    one, two = package(Home(tmp_path), "1", "1"), package(Home(tmp_path), "2", "2")
    names = [
        layer_id("", [one], ""),
        layer_id("", [one, two], ""),
        layer_id("", [one], "script"),
        layer_id("below", [one], ""),
    ]
    assert len(set(names)) == len(names)
    assert layer_id("", [one], "") == names[0]


def test_base_disks_are_named_by_what_is_on_them_alone() -> None:
    def keys(folder: str, clock: int, names: str) -> list[str]:
        stack = {name: Layer(Path(folder, f"id-of-{name}"), clock) for name in names.split()}
        base: Base | None = layers.base(stack, Tools("tools", Path(folder)))
        found = []
        while base:
            found.append(base.key)
            base = base.below
        return found

    own, ground = keys("/one", 1, "core base services extra")
    assert keys("/other", 2, "core base services extra") == [own, ground]
    assert keys("/one", 1, "core base services") == [ground]
    assert len({own, ground, *keys("/one", 1, "core base")}) == 3
