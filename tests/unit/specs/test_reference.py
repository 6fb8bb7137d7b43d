"""What is made from the schema is up to date, and true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from specs.load import parse
from specs.merge import Source, merge, read_tree
from specs.node import Node
from specs.reference import FILES, json_schema, page, sample
from specs.rules import inline
from specs.validate import validate

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "specs").glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_docs_are_not_stale(name: str, renew: bool) -> None:
    path = ROOT / "docs" / name
    if renew:
        path.write_text(FILES[name](), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == FILES[name](), "run: pytest --renew"


def test_the_sample_is_valid() -> None:
    tree = merge([Source("s", parse(sample(), "sample.yaml"), frozenset())])
    spec = validate(tree, Path())
    assert spec.apps
    assert spec.borg


def _data(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _data(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_data(child) for child in node.value]
    return node.value


EDITOR = Draft202012Validator(json_schema())


def test_the_json_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", [*SHIPPED, ROOT / "docs/sample.yaml"], ids=lambda path: path.name)
def test_editors_find_no_fault_in_shipped_specs(path: Path) -> None:
    assert list(EDITOR.iter_errors(_data(parse(path.read_text(), path.name)))) == []


@pytest.mark.parametrize(
    "case",
    sorted((ROOT / "tests/golden/valid").iterdir()),
    ids=lambda case: case.name,
)
def test_editors_take_every_valid_spec(case: Path) -> None:
    assert list(EDITOR.iter_errors(_data(read_tree(case / "spec.yaml")))) == []


@pytest.mark.parametrize(
    "case",
    [
        *("name-missing", "name-capitals", "unknown-section", "unknown-key-far", "image-by-tag"),
        *("section-is-a-list", "number-out-of-range", "choice-unknown", "app-values", "borg-empty"),
        *("calendar", "boolean-is-a-text", "user-name", "null-variable", "firewall-sources"),
    ],
)
def test_editors_see_what_a_schema_can_say(case: str) -> None:
    path = ROOT / "tests/golden/invalid" / case / "spec.yaml"
    assert list(EDITOR.iter_errors(_data(parse(path.read_text(), path.name))))


def test_links_of_the_page_lead_to_its_headings() -> None:
    lines = page().splitlines()
    headings = {
        line.lstrip("# ").lower().translate(str.maketrans("", "", ".[]"))
        for line in lines
        if line.startswith("#")
    }
    links = {line.split("](#")[1].split(")")[0] for line in lines if line.startswith("- [")}
    assert links
    assert links <= headings


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        ":80",
        "*.tmp",
        "1:2",
        "a: b",
        "- x",
        "#x",
        "",
        "ä",
        [1, "x,y"],
        {"k.l": True, "-m": 2},
    ],
)
def test_inline_values_read_back(value: Any) -> None:
    assert _data(parse(f"x: {inline(value)}", "s")) == {"x": value}
    assert _data(parse(f"x: [{inline(value)}]", "s")) == {"x": [value]}
