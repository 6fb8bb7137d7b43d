"""OCI images: the same input gives the same bytes, and what comes from elsewhere is checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from images.oci.blobs import blob_path
from images.oci.build import build_app, pack_rootfs
from images.oci.fetch import fetch_command, import_archive
from images.oci.layer import folder_layer, packages_layer
from specs.errors import BakehouseError
from specs.model import App, Build

EPOCH = 1_700_000_000
TAG = "bakehouse.local/shop:0123456789ab"
SHOP = App("shop", build=Build(), command=("python3", "-m", "shop"))


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A tree as packages leave it, with what must not travel."""
    root = tmp_path / "rootfs"
    files = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": "root:x:0:\n",
        "etc/shadow": "root:*:19000:0:99999:7:::\n",
        "etc/machine-id": "0123\n",
        "etc/resolv.conf": "nameserver 192.0.2.1\n",
        "usr/bin/tool": "#!/bin/sh\n",
        "usr/share/doc/tool/copyright": "free\n",
        "usr/share/doc/tool/changelog.gz": "long\n",
        "usr/share/man/man1/tool.1": "man\n",
        "usr/share/locale/de/LC_MESSAGES/tool.mo": "de\n",
        "usr/lib/python3/tool.py": "pass\n",
        "usr/lib/python3/__pycache__/tool.cpython-313.pyc": "bytes\n",
        "var/cache/apt/pkgcache.bin": "cache\n",
        "var/log/dpkg.log": "log\n",
        "tmp/left": "over\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "usr/bin/tool").chmod(0o4755)
    os.link(root / "usr/bin/tool", root / "usr/bin/tool-too")
    (root / "bin").symlink_to("usr/bin")
    os.utime(root / "usr/lib/python3/tool.py", (1_600_000_000, 1_600_000_000))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An app's own folder."""
    path = tmp_path / "shop"
    (path / "shop/__pycache__").mkdir(parents=True)
    (path / "shop/__main__.py").write_text("print('hello')\n")
    (path / "shop/__pycache__/x.pyc").write_text("bytes")
    (path / "run.sh").write_text("#!/bin/sh\n")
    (path / "run.sh").chmod(0o700)
    return path


def members(layer: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer) as tar:
        return {member.name: member for member in tar}


def document(out: Path, digest: str) -> Any:
    return json.loads(blob_path(out, digest.removeprefix("sha256:")).read_bytes())


def manifest_of(out: Path, app: str = "shop") -> Any:
    index = json.loads((out / f"{app}.json").read_bytes())
    return document(out, index["manifests"][0]["digest"])


def test_packages_layer_drops_what_a_container_never_needs(rootfs: Path, tmp_path: Path) -> None:
    layer = packages_layer(rootfs, epoch=EPOCH, out=tmp_path / "layer.tar")
    found = members(layer.path)
    assert "usr/share/doc/tool/copyright" in found
    assert {"tmp", "var/log", "var/cache"} <= found.keys()
    for gone in (
        *("etc/shadow", "etc/machine-id", "etc/resolv.conf", "usr/share/doc/tool/changelog.gz"),
        *("usr/share/man/man1", "usr/share/locale/de", "usr/lib/python3/__pycache__"),
        *("var/cache/apt", "var/log/dpkg.log", "tmp/left"),
    ):
        assert gone not in found
    assert list(found) == sorted(found)


def test_packages_layer_keeps_links_modes_and_old_times(rootfs: Path, tmp_path: Path) -> None:
    found = members(packages_layer(rootfs, epoch=EPOCH, out=tmp_path / "layer.tar").path)
    assert found["bin"].linkname == "usr/bin"
    assert found["usr/bin/tool"].mode == 0o4755
    assert found["usr/bin/tool-too"].islnk()
    assert found["usr/bin/tool-too"].linkname == "usr/bin/tool"
    assert found["usr/lib/python3/tool.py"].mtime == 1_600_000_000
    assert found["usr/bin"].mtime == EPOCH


def test_packages_layer_knows_the_account_that_apps_run_as(rootfs: Path, tmp_path: Path) -> None:
    layer = packages_layer(rootfs, epoch=EPOCH, out=tmp_path / "layer.tar")
    with tarfile.open(layer.path) as tar:
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        lines = passwd.read().decode().splitlines()
    assert lines[-1].startswith("nonroot:x:65532:65532:")
    assert len(lines) == 2


def test_folder_layer_is_roots_and_carries_nothing_of_the_working_copy(
    folder: Path, tmp_path: Path
) -> None:
    found = members(folder_layer(folder, epoch=EPOCH, out=tmp_path / "layer.tar").path)
    assert sorted(found) == ["app", "app/run.sh", "app/shop", "app/shop/__main__.py"]
    assert {member.mtime for member in found.values()} == {EPOCH}
    assert {(member.uid, member.gid) for member in found.values()} == {(0, 0)}
    modes = {name: member.mode for name, member in found.items()}
    assert modes == {
        "app": 0o755,
        "app/run.sh": 0o755,
        "app/shop": 0o755,
        "app/shop/__main__.py": 0o644,
    }


def test_folder_layer_does_not_judge_what_does_not_travel(folder: Path, tmp_path: Path) -> None:
    (folder / ".git").mkdir(exist_ok=True)
    (folder / ".git" / "objects").symlink_to("/srv/shared")
    os.mkfifo(folder / ".git" / "pipe")
    found = members(folder_layer(folder, epoch=EPOCH, out=tmp_path / "layer.tar").path)
    assert "app/run.sh" in found and "app/.git" not in found


def test_folder_layer_refuses_a_link_that_leads_out(folder: Path, tmp_path: Path) -> None:
    (folder / "secret").symlink_to("/etc/shadow")
    with pytest.raises(BakehouseError, match="leads out of the app's folder"):
        folder_layer(folder, epoch=EPOCH, out=tmp_path / "layer.tar")


def test_build_gives_the_same_bytes_again(rootfs: Path, folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (folder / "run.sh").touch()
        packages = pack_rootfs(rootfs, epoch=EPOCH, cache=tmp_path / f"cache-{name}")
        build_app(SHOP, packages=packages, folder=folder, tag=TAG, epoch=EPOCH, out=tmp_path / name)
    first = {p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*")}
    assert first == {p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*")}
    assert len(first) == 7  # the index, two folders, manifest, configuration, two layers
    for path in first:
        if (tmp_path / "one" / path).is_file():
            assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


def test_a_kept_layer_is_used_again_unless_it_is_damaged(rootfs: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = pack_rootfs(rootfs, epoch=EPOCH, cache=cache)
    made = first.path.stat().st_ino
    assert pack_rootfs(rootfs, epoch=EPOCH, cache=cache) == first
    assert first.path.stat().st_ino == made
    first.path.write_bytes(first.path.read_bytes() + b"damage")
    assert pack_rootfs(rootfs, epoch=EPOCH, cache=cache) == first
    assert [path.name for path in cache.iterdir()] == [first.path.name]
    assert pack_rootfs(rootfs, epoch=EPOCH + 1, cache=cache).path != first.path


def test_build_says_how_to_run_it(rootfs: Path, folder: Path, tmp_path: Path) -> None:
    packages = pack_rootfs(rootfs, epoch=EPOCH, cache=tmp_path / "cache")
    build_app(SHOP, packages=packages, folder=folder, tag=TAG, epoch=EPOCH, out=tmp_path)
    manifest = manifest_of(tmp_path)
    config = document(tmp_path, manifest["config"]["digest"])
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["config"]["Cmd"] == ["python3", "-m", "shop"]
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["WorkingDir"] == "/app"
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    index = json.loads((tmp_path / "shop.json").read_bytes())
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == TAG


def test_blobs_are_named_by_their_content(folder: Path, tmp_path: Path) -> None:
    build_app(SHOP, packages=None, folder=folder, tag=TAG, epoch=EPOCH, out=tmp_path)
    for blob in (tmp_path / "blobs/sha256").iterdir():
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()


def archive_of(source: Path, to: Path, *, app: str = "shop", spoil: str = "") -> Path:
    """An OCI archive of an image folder; `spoil` names a kind of blob to damage."""
    index = json.loads((source / f"{app}.json").read_bytes())
    manifest = manifest_of(source, app)
    damaged = {
        "manifest": index["manifests"][0]["digest"],
        "config": manifest["config"]["digest"],
        "layer": manifest["layers"][0]["digest"],
        "": "",
    }[spoil]
    with tarfile.open(to, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for blob in sorted((source / "blobs/sha256").iterdir()):
            content = blob.read_bytes()
            if f"sha256:{blob.name}" == damaged:
                content = content.replace(b"linux", b"Linux").replace(b"hello", b"hallo") + b" "
            _add(tar, f"blobs/sha256/{blob.name}", content)
    return to


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def built(folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "built"
    build_app(SHOP, packages=None, folder=folder, tag="else.where/x:1", epoch=EPOCH, out=out)
    return out


def test_import_takes_an_oci_archive_as_it_is(built: Path, tmp_path: Path) -> None:
    archive = archive_of(built, tmp_path / "shop.tar")
    import_archive(SHOP, archive=archive, tag=TAG, out=tmp_path / "out")
    assert manifest_of(tmp_path / "out") == manifest_of(built)
    index = json.loads((tmp_path / "out/shop.json").read_bytes())
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == TAG


@pytest.mark.parametrize("spoil", ["manifest", "config", "layer"])
def test_import_refuses_content_that_is_not_its_digest(
    built: Path, tmp_path: Path, spoil: str
) -> None:
    archive = archive_of(built, tmp_path / "shop.tar", spoil=spoil)
    with pytest.raises(BakehouseError, match="has the content of sha256"):
        import_archive(SHOP, archive=archive, tag=TAG, out=tmp_path / "out")
    assert not (tmp_path / "out/shop.json").exists()


def test_import_takes_the_platform_of_the_server(built: Path, tmp_path: Path) -> None:
    index = json.loads((built / "shop.json").read_bytes())
    ours = index["manifests"][0]
    ours["platform"] = {"os": "linux", "architecture": "amd64"}
    other = {**ours, "digest": f"sha256:{'1' * 64}"}
    other["platform"] = {"os": "linux", "architecture": "arm64"}
    index["manifests"] = [other, ours]
    (built / "shop.json").write_text(json.dumps(index))
    with tarfile.open(tmp_path / "shop.tar", "w") as tar:
        _add(tar, "./oci-layout", b"{}")
        _add(tar, "./index.json", json.dumps(index).encode())
        for blob in (built / "blobs/sha256").iterdir():
            _add(tar, f"./blobs/sha256/{blob.name}", blob.read_bytes())
    import_archive(SHOP, archive=tmp_path / "shop.tar", tag=TAG, out=tmp_path / "out")
    found = json.loads((tmp_path / "out/shop.json").read_bytes())
    assert found["manifests"][0]["digest"] == ours["digest"]


@pytest.mark.parametrize("packed", [False, True])
def test_import_takes_what_an_old_docker_saved(built: Path, tmp_path: Path, packed: bool) -> None:
    manifest = manifest_of(built)
    config = blob_path(built, manifest["config"]["digest"].removeprefix("sha256:")).read_bytes()
    digest = manifest["layers"][0]["digest"]
    layer = blob_path(built, digest.removeprefix("sha256:")).read_bytes()
    saved = [{"Config": "c.json", "RepoTags": ["shop:1"], "Layers": ["l/layer.tar"]}]
    with tarfile.open(tmp_path / "shop.tar.gz", "w:gz") as tar:
        _add(tar, "manifest.json", json.dumps(saved).encode())
        _add(tar, "c.json", config)
        _add(tar, "l/layer.tar", gzip.compress(layer) if packed else layer)
    import_archive(SHOP, archive=tmp_path / "shop.tar.gz", tag=TAG, out=tmp_path / "out")
    assert [found["digest"] for found in manifest_of(tmp_path / "out")["layers"]] == [digest]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({}, "manifest.json is missing"),
        ({"manifest.json": b"[]"}, "holds 0 images, not one"),
        ({"manifest.json": b"{"}, "manifest.json is not JSON"),
        ({"oci-layout": b"{}", "index.json": b"{}"}, "not an OCI image"),
        ({"oci-layout": b"{}", "index.json": b'{"manifests": []}'}, "holds 0 images for linux"),
    ],
)
def test_import_says_what_an_archive_lacks(
    tmp_path: Path, content: dict[str, bytes], why: str
) -> None:
    with tarfile.open(tmp_path / "shop.tar", "w") as tar:
        for name, data in content.items():
            _add(tar, name, data)
    with pytest.raises(BakehouseError, match=why):
        import_archive(SHOP, archive=tmp_path / "shop.tar", tag=TAG, out=tmp_path / "out")


def test_import_says_that_a_file_is_no_tar(tmp_path: Path) -> None:
    (tmp_path / "shop.tar").write_text("no tar")
    with pytest.raises(BakehouseError, match="not a readable tar"):
        import_archive(SHOP, archive=tmp_path / "shop.tar", tag=TAG, out=tmp_path / "out")


def test_fetch_asks_for_the_digest_and_trusts_plain_http_only_when_told() -> None:
    image = f"registry.example.org/shop@sha256:{'0' * 64}"
    command = fetch_command(image, Path("/tmp/x"))
    assert command[-2:] == [f"docker://{image}", "dir:/tmp/x"]
    assert "--src-tls-verify=false" not in command
    assert "--src-tls-verify=false" in fetch_command(image, Path("x"), insecure=True)
