"""Files that import each other → one tree. The rules' outcomes are in `tests/golden/valid`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.errors import SpecError, UsageError
from specs.load import parse
from specs.merge import MAX_FILES, Source, merge, read_tree
from specs.node import Node


def _plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child) for child in node.value]
    return node.value


def _merge(*files: tuple[str, str, set[str]]) -> object:
    """Files as (name, text, names of all that it imports)."""
    return _plain(
        merge([Source(name, parse(text, name), frozenset(below)) for name, text, below in files])
    )


def test_a_file_wins_over_what_it_imports_through_others() -> None:
    files = [
        ("base", "x: 1", set[str]()),
        ("a", "y: 1", {"base"}),
        ("top", "x: 2", {"a", "base"}),
    ]
    assert _merge(*files) == {"x": 2, "y": 1}


def test_a_conflict_names_both_places() -> None:
    with pytest.raises(SpecError) as caught:
        _merge(("a", "s:\n  x: 1", set()), ("b", "s: {x: 2}", set()), ("top", "n: 1", {"a", "b"}))
    assert str(caught.value).startswith("b:1:8: s.x: is 2 here and 1 in a:2:6;")


def test_true_and_1_are_not_the_same() -> None:
    with pytest.raises(SpecError, match="is true here and 1 in"):
        _merge(("a", "x: 1", set()), ("b", "x: true", set()), ("top", "n: 1", {"a", "b"}))


def test_a_key_stands_where_the_winner_wrote_it() -> None:
    low = Source("low", parse("ssh: {port: 1}", "low"), frozenset())
    top = Source("top", parse("ssh:\n  port: 2", "top"), frozenset({"low"}))
    tree = merge([low, top])
    assert isinstance(tree.value, dict)
    assert str(tree.value["ssh"].keys["port"]) == "top:2:3"


def test_the_same_file_by_two_ways_counts_once(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("l: [x]")
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    top = tmp_path / "top.yaml"
    top.write_text("imports: [real.yaml, ./real.yaml, link.yaml]\nl: [y]")
    assert _plain(read_tree(top)) == {"l": ["x", "y"]}


def test_places_name_files_as_the_person_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/lib").mkdir(parents=True)
    (tmp_path / "a/top.yaml").write_text("imports: [lib/m.yaml]\n")
    (tmp_path / "a/lib/m.yaml").write_text("x: 1\n")
    monkeypatch.chdir(tmp_path)
    tree = read_tree(Path("./a/../a/top.yaml"))
    assert isinstance(tree.value, dict)
    assert tree.value["x"].place.file == "a/lib/m.yaml"


def test_too_many_files_are_an_error(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 5):
        (tmp_path / f"{number}.yaml").write_text(f"imports: [{number + 1}.yaml]")
    with pytest.raises(SpecError, match="more than 200 files"):
        read_tree(tmp_path / "0.yaml")


def test_a_missing_spec_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "hobby.yaml").write_text("name: x")
    with pytest.raises(UsageError) as caught:
        read_tree(tmp_path / "hoby.yaml")
    assert caught.value.hint == f"did you mean {tmp_path}/hobby.yaml?"
    with pytest.raises(UsageError, match="there is no spec"):
        read_tree(tmp_path / "nowhere/x.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_spec_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: x")
    path.chmod(0)
    with pytest.raises(UsageError, match="cannot read"):
        read_tree(path)


settings_of = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3)


@given(st.lists(settings_of, min_size=1, max_size=4))
def test_along_a_chain_of_imports_the_last_word_counts(files: list[dict[str, int]]) -> None:
    sources = []
    for index, content in enumerate(files):
        text = "{" + ", ".join(f"{key}: {value}" for key, value in content.items()) + "}"
        below = frozenset(str(lower) for lower in range(index))
        sources.append(Source(str(index), parse(text, str(index)), below))
    wanted: dict[str, int] = {}
    for content in files:
        wanted |= content
    assert _plain(merge(sources)) == wanted
