"""The rendered folder before Debian's Packer 1.6.6: valid for every builder, and formatted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from images.packer import folder, transfer
from images.recipe import prepare
from images.run import run
from specs.read import read

CASE = Path(__file__).parents[1] / "golden/render/static/spec.yaml"
NAMED = {"HCLOUD_TOKEN": "none", "DIGITALOCEAN_TOKEN": "none"}
BUILDERS = ["hcloud.image", "digitalocean.image", "qemu.image"]

pytestmark = pytest.mark.skipif(shutil.which("packer") is None, reason="packer is not installed")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`packer/` of a spec, without its packages."""
    out = tmp_path_factory.mktemp("packer")
    folder.write(prepare(read(CASE), CASE, None), out)
    return out


@pytest.mark.parametrize("builder", BUILDERS)
def test_valid_for(builder: str, rendered: Path, tmp_path: Path) -> None:
    """As its README says to call 1.6.6: one file, its variables, one builder."""
    words = [f"-only={builder}", f"-var-file={rendered}/{folder.VARIABLES}"]
    run(["packer", "validate", *words, str(rendered / folder.TEMPLATE)], env=NAMED, cwd=tmp_path)


def test_a_missing_token_is_named(rendered: Path) -> None:
    words = ["-only=hcloud.image", f"-var-file={rendered}/{folder.VARIABLES}"]
    done = run(
        ["packer", "validate", *words, str(rendered / folder.TEMPLATE)],
        env={"HCLOUD_TOKEN": ""},
        check=False,
    )
    assert done.code != 0
    assert "token" in done.stdout + done.stderr


def test_the_transfer_is_valid_and_formatted(tmp_path: Path) -> None:
    known = {"image": "web-0123456789ab", "server": "bakehouse-bake-web", "send": "true"}
    (tmp_path / "vars.json").write_text(json.dumps({**known, "labels": {"spec": "web"}}))
    words = [f"-only={transfer.BUILDER}", f"-var-file={tmp_path}/vars.json"]
    run(["packer", "validate", *words, str(transfer.TEMPLATE)], env=NAMED, cwd=tmp_path)
    run(["packer", "fmt", "-check", "-diff", str(transfer.TEMPLATE)])


@pytest.mark.parametrize("name", [folder.TEMPLATE, "plugins.pkr.hcl"])
def test_formatted(name: str, rendered: Path) -> None:
    run(["packer", "fmt", "-check", "-diff", str(rendered / name)])


@pytest.mark.parametrize("script", folder.SCRIPTS)
def test_scripts_are_shell(script: str, rendered: Path) -> None:
    run(["sh", "-n", str(rendered / script)])
