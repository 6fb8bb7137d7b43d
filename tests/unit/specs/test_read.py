"""The entrance, over what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from specs.facts import gather
from specs.model import Spec
from specs.plan import resolve
from specs.read import read

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "specs").glob("*.yaml"))
MODULES = sorted((ROOT / "specs/modules").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_specs_are_valid_and_make_a_plan(path: Path) -> None:
    spec = read(path)
    found = gather(spec, path.parent, None)
    plan = resolve(spec, None, found.payloads)
    wanted = {f"app/{app.name}" for app in spec.apps}
    assert wanted <= {payload.name for payload in plan.image.payloads}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_every_module_can_be_imported(path: Path, tmp_path: Path) -> None:
    (tmp_path / path.name).write_bytes(path.read_bytes())
    top = tmp_path / "spec.yaml"
    top.write_text(f"name: web\nimports: [{path.name}]\n")
    assert read(top) != Spec("web")


def test_the_static_example_has_ten_lines() -> None:
    assert len((ROOT / "specs/static.yaml").read_text().splitlines()) <= 10
