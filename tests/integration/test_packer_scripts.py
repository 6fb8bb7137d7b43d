"""What Packer runs on a vendor's server, run in that server's files without booting them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from images.home import Home, clear_work, find_home
from images.locking import lock_of
from images.mounts import overlay
from images.ovens import chamber
from images.packer import folder
from images.packer.supplies import lay_out
from images.progress import Progress
from images.recipe import prepare
from images.run import run
from specs.read import read
from tests.integration.vendor import vendor_tree

pytestmark = [pytest.mark.root, pytest.mark.full]

BOX = "name: box\nsystem: {packages: [jq]}\n"
THERE = "var/tmp/bakehouse-bake"


def test_baked_and_sealed(tmp_path: Path) -> None:
    """The spec's packages are there, the vendor's settings and all traces of the bake are gone, and
    the manifest is of what is left."""
    known, home = find_home(), Home(tmp_path / "home")
    home.root.mkdir()
    for name in ("packages", "layers"):
        (known.root / name).mkdir(parents=True, exist_ok=True)
        (home.root / name).symlink_to(known.root / name)
    vendor = vendor_tree(home, tmp_path / "vendor")
    (vendor / "etc/cloud/cloud.cfg.d/99-vendor.cfg").write_text("users: [vendor]\n")
    file = tmp_path / "box.yaml"
    file.write_text(BOX, encoding="utf-8")
    spec, progress = read(file), Progress()
    recipe = folder.provisioned(prepare(spec, file, lock_of(spec, file, home, progress)), "base")
    clear_work(home)
    lay_out(recipe, home, tmp_path / "packer", progress)
    told = json.loads((tmp_path / "packer" / folder.VARIABLES).read_text(encoding="utf-8"))
    env = {
        "THERE": f"/{THERE}",
        "CLOUD_INIT": told["cloud_init"],
        "SOURCE_DATE_EPOCH": told["epoch"],
    }
    with overlay([vendor], tmp_path / "up/upper", tmp_path / "up") as root:
        shutil.copytree(tmp_path / "packer", root / THERE)
        for script in folder.SCRIPTS:
            chamber.enter(root, ["sh", "-c", (folder.STATIC / script).read_text()], env=env)
        query = ["chroot", str(root), "dpkg-query", "--show", "--showformat=${Package} ${Version}"]
        assert run([*query, "cloud-init"]).stdout == f"cloud-init {told['cloud_init']}"
        assert run([*query, "jq"]).stdout.startswith("jq ")
        settings = {path.name for path in (root / "etc/cloud/cloud.cfg.d").iterdir()}
        assert settings == {"05_logging.cfg", "90-bakehouse.cfg", "README"}
        assert not [*(root / "var/tmp").iterdir(), *(root / "etc/ssh").glob("ssh_host_*")]
        assert (root / "etc/machine-id").read_text() == ""
        drift = ["chroot", str(root), "python3", "-IB", "-m", "bakehouse.drift"]
        assert json.loads(run(drift).stdout)["total"] == 0
