"""What the server gives to `docker load`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from images.oci.build import build_app
from images.server.load_images import manifests, write_archive
from specs.model import App, Build

EPOCH = 1_700_000_000


def test_archive_holds_every_image_and_each_blob_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "main.py").write_text("pass\n")
    apps = []
    for name in ("one", "two"):
        app = App(name, build=Build(), command=("python3", f"{name}.py"))
        tag = f"bakehouse.local/{name}:1"
        build_app(app, packages=None, folder=folder, tag=tag, epoch=EPOCH, out=tmp_path / "images")
        apps.append({"name": name, "image": tag})
    wanted = manifests(apps, tmp_path / "images")
    assert list(wanted) == ["bakehouse.local/one:1", "bakehouse.local/two:1"]
    stream = io.BytesIO()
    write_archive(list(wanted.values()), tmp_path / "images", stream)
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as tar:
        names = tar.getnames()
        index = tar.extractfile("index.json")
        assert index is not None
        listed = json.loads(index.read())["manifests"]
    assert names[:2] == ["oci-layout", "index.json"]
    assert len(names) == len(set(names)) == 2 + 5  # a shared layer, two configurations, manifests
    assert [item["annotations"]["io.containerd.image.name"] for item in listed] == list(wanted)
