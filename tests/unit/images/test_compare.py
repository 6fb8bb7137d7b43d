"""What differs between two specs or images."""

from __future__ import annotations

from dataclasses import replace

from images.compare import Side, changes

SIDE = Side("a", {"bash": "1"}, {"/etc/x": "1\n"}, frozenset({"jane"}), frozenset({"a.service"}), 0)


def lines(old: Side, new: Side) -> list[str]:
    return [line for change in changes(old, new) for line in change.lines()]


def test_the_same_has_no_changes() -> None:
    assert changes(SIDE, SIDE) == ()


def test_changes_are_told_by_kind() -> None:
    new = Side(
        "b", {"bash": "2", "zsh": "1"}, {"/etc/x": "2\n"}, frozenset(), frozenset({"b.service"}), 0
    )
    assert lines(SIDE, new) == [
        "~ file /etc/x",
        "    @@ -1 +1 @@",
        "    -1",
        "    +2",
        "~ package bash 1 → 2",
        "+ package zsh 1",
        "- unit a.service",
        "+ unit b.service",
        "- user jane",
    ]


def test_without_a_lock_no_package_seems_gone() -> None:
    assert lines(SIDE, replace(SIDE, packages=None)) == []
    assert lines(replace(SIDE, packages=None), SIDE) == []
