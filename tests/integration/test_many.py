"""The large example passes its gate: two dozen services, built as a user would."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from images import store
from images.home import find_home
from images.run import run
from specs.read import read

pytestmark = [pytest.mark.root, pytest.mark.full]

ROOT = Path(__file__).parents[2]
MANY = ROOT / "specs/many.yaml"


def test_two_dozen_services_are_baked_and_proven() -> None:
    assert len(read(MANY).apps) >= 24
    words = [sys.executable, "-m", "invoke", "--search-root", str(ROOT)]
    done = run(
        [*words, "build-image", "--spec", str(MANY), "--json"],
        cwd=ROOT,
        check=False,
    )
    assert done.code == 0, done.stdout + done.stderr
    built = json.loads(done.stdout.splitlines()[-1])
    report = store.report(find_home(), built["image"])
    assert report["passed"] is True
    assert report["skipped"] == {}
