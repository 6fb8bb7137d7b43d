"""What a spec and its lock render to, as data: `render/<case>/`. `--renew` writes it anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloudinit.bake import bake
from cloudinit.boot import boot
from specs.facts import gather
from specs.lock import lock_path, parse
from specs.plan import Plan, resolve
from specs.read import read

CASES = sorted((Path(__file__).parent / "render").iterdir())
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdvbGRlbi1vcGVyYXRvci1rZXktZm9yLXRlc3RzLTAx operator"


def plan_of(case: Path) -> Plan:
    spec_file = case / "spec.yaml"
    spec = read(spec_file)
    text = lock_path(spec_file).read_text(encoding="utf-8")
    lock = parse(text, "spec.lock")
    plan = resolve(spec, lock, gather(spec, case, lock).payloads)
    server = replace(plan.server, generation=7, image_id="golden-0123456789ab")
    return replace(plan, server=replace(server, role="primary", operator_keys=(KEY,)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("name", ["bake.yaml", "boot.yaml"])
def test_render(case: Path, name: str, renew: bool) -> None:
    plan = plan_of(case)
    text = bake(plan.image) if name == "bake.yaml" else boot(plan.server)
    golden = case / name
    if renew:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
