"""The documents under other hash seeds, clocks and languages, and before the real cloud-init."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cloudinit.validate import check
from images import schema
from images.archive import cached
from images.home import find_home
from images.recipe import read_lock
from images.run import run

ROOT = Path(__file__).parents[2]
HOBBY = ROOT / "specs/hobby.yaml"
RENDERED = sorted((ROOT / "tests/golden/render").glob("*/*.yaml"))
DOCUMENTS = [path for path in RENDERED if path.name in ("bake.yaml", "boot.yaml")]

RENDER = """
import sys
from pathlib import Path
from cloudinit.bake import bake
from images.recipe import read_lock
from specs.facts import gather
from specs.plan import resolve
from specs.read import read
file = Path(sys.argv[1])
spec, lock = read(file), read_lock(file)
print(bake(resolve(spec, lock, gather(spec, file.parent, lock).payloads).image), end="")
"""


def test_other_processes_render_the_same() -> None:
    case = ROOT / "tests/golden/render/everything"
    places = (
        {"PYTHONHASHSEED": "1", "TZ": "Pacific/Chatham", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "2", "TZ": "America/Caracas", "LC_ALL": "tr_TR.UTF-8", "HOME": "/"},
    )
    for env in places:
        text = run(
            [sys.executable, "-c", RENDER, str(case / "spec.yaml")], env=env, cwd=ROOT
        ).stdout
        assert text == (case / "bake.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def locked_schema(hobby_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cloud-init's schema from the package that the default server is locked to."""
    lock = read_lock(HOBBY)
    if lock is None:
        pytest.skip(f"{hobby_image} was not built here, so there is no lock beside {HOBBY.name}")
    package = next(found for found in lock.image_packages() if found.name == "cloud-init")
    unpacked = tmp_path_factory.mktemp("cloud-init")
    run(["dpkg-deb", "--extract", str(cached(find_home(), package)), str(unpacked)])
    return schema.find_schema([unpacked])


@pytest.mark.root
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_documents_fit_the_locked_release(document: Path, locked_schema: Path) -> None:
    check(document.read_text(encoding="utf-8"), locked_schema, document.name)
