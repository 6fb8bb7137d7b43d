"""Each folder of `valid/` holds a spec, and as JSON what of the resulting `Spec` is no default."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from specs.model import Spec
from specs.read import read

CASES = sorted(path.parent for path in Path(__file__).parent.glob("valid/*/spec.yaml"))


def _plain(spec: Spec) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return found


def _told(spec: Spec) -> dict[str, Any]:
    """The sections that differ from those of an empty spec."""
    empty = _plain(Spec(""))
    return {key: value for key, value in _plain(spec).items() if value != empty[key]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_spec_is_what_was_meant(
    case: Path, monkeypatch: pytest.MonkeyPatch, renew: bool
) -> None:
    monkeypatch.chdir(case)
    found = json.dumps(_told(read(Path("spec.yaml"))), indent=1) + "\n"
    expected = case / "expected.json"
    if renew:
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_where_we_stand_does_not_matter(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case)
    here = read(Path("spec.yaml"))
    monkeypatch.chdir(case.parent.parent)
    assert read(Path("valid", case.name, "spec.yaml")) == here == read(case / "spec.yaml")
