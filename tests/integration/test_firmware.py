"""The raw image of the default server boots as a virtual machine, whatever its firmware."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from images.run import run

pytestmark = [pytest.mark.root, pytest.mark.full]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_the_gate_passes(hobby_image: Path, firmware: str) -> None:
    stored = hobby_image.parent
    words = ["test-image", "--image", stored.name, "--boot", firmware, "--json"]
    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
    done = run([*command, "--store", str(stored.parents[1])], cwd=ROOT, check=False)
    report = json.loads(done.stdout.splitlines()[-1])
    assert (done.code, report["failures"], report["kind"]) == (0, [], firmware)
    assert json.loads((stored / f"report-{firmware}.json").read_text()) == report
