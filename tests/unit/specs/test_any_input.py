"""Whatever a spec file holds, Bakehouse answers with a `Spec` or with an error that is its own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specs.errors import BakehouseError, SpecError, UsageError
from specs.model import Spec
from specs.read import read
from specs.rules import Rules
from specs.schema import SCHEMA

ROOT = Path(__file__).parents[3]
SEEDS = [
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("specs/hobby.yaml", "specs/static.yaml", "docs/sample.yaml")
]
TOKENS = [
    *("!force ", "!default ", "!!str ", "!!binary ", "!x ", "!<tag:x> ", "&a ", "*a", "<<: *a\n"),
    *("- ", ": ", "? ", "| ", ">\n", "{", "}", "[", "]", ",", "'", '"', "#", "---\n", "...\n"),
    *("\t", "\r", "\n", "  ", "\0", "\x85", "\ufeff", "\U0001f9c0", "%YAML 1.1\n", "%TAG ! x\n"),
    *("null", "~", "true", ".inf", ".nan", "2024-01-01", "12:30:45", "0x1F", "9" * 5000, "-1"),
    *("imports: [spec.yaml]\n", "imports: [../..]\n", 'imports: ["\\0"]\n', "\\", "\\U00110000"),
]
FEW = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=2000, derandomize=False)


def _answer(folder: Path, content: bytes) -> None:
    path = folder / "spec.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(read(path), Spec)
    except (SpecError, UsageError) as error:
        assert str(error).strip()
        assert all(line.isprintable() for line in str(error).splitlines())
        if isinstance(error, SpecError):
            assert all(problem.place.line > 0 for problem in error.problems)
            assert json.dumps([problem.as_data() for problem in error.problems])


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**30, max_value=10**400),
    st.floats(),
    st.dates().map(str),
    st.text(),
    st.sampled_from(["\ud800", "a\x1b[31m", "\u2028", "x\x9b"]),
    st.sampled_from(["", "~", ":80", "1.10", "on", "!force x", "deploy", "guestbook", "/a/../b"]),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=8), st.sampled_from(list(SCHEMA))), inner),
    ),
    max_leaves=12,
)


@st.composite
def shaped(draw: st.DrawFn, rules: Rules) -> Any:
    """Data that follows the schema here and goes astray there."""
    if draw(st.integers(0, 9)) == 0:
        return draw(trees)
    kind = rules.get("type")
    if kind == "dict" and "schema" in rules:
        keys = draw(st.lists(st.sampled_from(list(rules["schema"])), unique=True, max_size=5))
        return {key: draw(shaped(rules["schema"][key])) for key in keys}
    if kind == "dict":
        names = draw(st.lists(st.sampled_from(["a", "shop", ":80", "x_y", "B"]), max_size=3))
        return {name: draw(shaped(rules["valuesrules"])) for name in names}
    if kind == "list":
        return draw(st.lists(shaped(rules["schema"]), max_size=3))
    if "allowed" in rules:
        return draw(st.sampled_from(rules["allowed"]))
    if kind == "integer":
        return draw(st.integers(rules["min"] - 1, rules["max"] + 1))
    if kind == "boolean":
        return draw(st.booleans())
    usual = [rules.get("meta", {}).get("example", "shop"), "x", "/data/x"]
    return draw(st.one_of(st.sampled_from(usual), st.text(max_size=20)))


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """A valid spec with a few things cut out, repeated, swapped or put in."""
    text = draw(st.sampled_from(SEEDS))
    chance = draw(st.randoms(use_true_random=False))
    for _ in range(draw(st.integers(1, 6))):
        text = _mutate(text, chance)
    return text


def _mutate(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    index = chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            del lines[index : index + chance.randrange(1, 4)]
        case 1:
            lines.insert(chance.randrange(len(lines) + 1), lines[index])
        case 2:
            lines[index] = "  " * chance.randrange(3) + lines[index].lstrip()
        case _:
            column = chance.randrange(len(lines[index]) + 1)
            lines[index] = lines[index][:column] + chance.choice(TOKENS) + lines[index][column:]
    return "\n".join(lines)


def _dump(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")


INPUTS = {
    "bytes": st.binary(max_size=200),
    "text": st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    "tokens": st.lists(st.sampled_from([*TOKENS, "name", "apps", "a"]), max_size=30).map(
        lambda tokens: "".join(tokens).encode()
    ),
    "trees": trees.map(_dump),
    "escaped": shaped({"type": "dict", "schema": SCHEMA}).map(
        lambda tree: json.dumps(
            {**tree, "name": "web"} if isinstance(tree, dict) else tree
        ).encode()
    ),
    "shaped": shaped({"type": "dict", "schema": SCHEMA}).map(_dump),
    "named": shaped({"type": "dict", "schema": SCHEMA}).map(
        lambda tree: _dump({**tree, "name": "web"} if isinstance(tree, dict) else tree)
    ),
    "mutants": mutants().map(str.encode),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_no_input_makes_a_traceback(kind: str, tmp_path: Path) -> None:
    FEW(given(INPUTS[kind])(lambda content: _answer(tmp_path, content)))()


@pytest.mark.full
@pytest.mark.parametrize("kind", INPUTS)
def test_no_input_makes_a_traceback_however_long_we_try(kind: str, tmp_path: Path) -> None:
    MANY(given(INPUTS[kind])(lambda content: _answer(tmp_path, content)))()


def test_a_directory_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(BakehouseError, match="is a folder"):
        read(tmp_path)
