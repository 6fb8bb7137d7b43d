"""YAML → nodes with their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from specs.errors import Place, SpecError
from specs.load import MAX_BYTES, load, parse
from specs.node import Node, Priority


def _values(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _values(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_values(child) for child in node.value]
    return node.value


def _at(node: Node, *path: str | int) -> Node:
    for step in path:
        assert isinstance(node.value, dict | list)
        node = node.value[step]  # type: ignore[index]
    return node


def test_every_node_and_key_knows_its_place() -> None:
    root = parse("a:\n  b: 1\n  c: [x, {d: y}]\n", "s.yaml")
    assert root.keys["a"] == Place("s.yaml", 1, 1)
    assert _at(root, "a").keys["c"] == Place("s.yaml", 3, 3)
    assert _at(root, "a", "c", 1, "d").place == Place("s.yaml", 3, 14)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("010", 10),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("yes", "yes"),
        ("off", "off"),
        ("1.10", "1.10"),
        ("0x10", "0x10"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ('"1"', "1"),
        ("'true'", "true"),
        ("!!str 1", "1"),
        ("! 1", "1"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    node = _at(parse(f"a: {text}\n", "s"), "a")
    assert node.value == value
    assert type(node.value) is type(value)


def test_tags_are_priorities_and_keep_the_value() -> None:
    root = parse("a: !default 25\nb: !force [1]\nc: !force\nd: !force {x: !default y}\n", "s")
    assert [_at(root, key).priority for key in "abcd"] == [
        Priority.DEFAULT,
        Priority.FORCE,
        Priority.FORCE,
        Priority.FORCE,
    ]
    assert _values(root) == {"a": 25, "b": [1], "c": None, "d": {"x": "y"}}
    assert _at(root, "d", "x").priority == Priority.DEFAULT


def test_merge_keys_yield_to_own_keys_and_to_earlier_mappings() -> None:
    text = "one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\nall:\n  <<: [*one, *two]\n  a: 3\n"
    assert _values(_at(parse(text, "s"), "all")) == {"a": 3, "b": 1, "c": 2}


def test_an_anchor_may_be_given_anew() -> None:
    assert _values(parse("a: &x 1\nb: *x\nc: &x 2\nd: *x\n", "s")) == {
        "a": 1,
        "b": 1,
        "c": 2,
        "d": 2,
    }


def test_all_small_problems_of_a_file_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse("a: !x 1\nb: 2\nb: 3\nc: {<<: 1}\n", "s")
    assert [problem.place.line for problem in caught.value.problems] == [1, 3, 4]


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: web\n")
    assert _values(load(path, "s.yaml")) == {"name": "web"}


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(SpecError, match="is larger than 1 MiB"):
        load(path, "s.yaml")


def test_nesting_up_to_the_limit_is_fine_and_beyond_costs_nothing() -> None:
    assert parse("a: " + "[" * 31 + "]" * 31, "s").size > 30
    with pytest.raises(SpecError, match="deeper than 32"):
        parse("a: " + "[" * 100_000, "s")
