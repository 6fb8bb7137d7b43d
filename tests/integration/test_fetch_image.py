"""An image from a registry, by digest, with the real skopeo."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from images.oci.blobs import INDEX_TYPE, MANIFEST_TYPE, encode, put_bytes
from images.oci.build import build_app
from images.oci.fetch import fetch_image
from images.run import CommandError
from specs.model import App, Build

pytestmark = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="needs skopeo: apt-get install skopeo"
)

TAG = "bakehouse.local/shop:0123456789ab"


class Registry(ThreadingHTTPServer):
    """A registry that serves the blobs of an image folder, and whatever `spoiled` says instead."""

    def __init__(self, images: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.images = images
        self.spoiled: dict[str, bytes] = {}

    def image(self, digest: str) -> str:
        """The reference of an image here."""
        return f"127.0.0.1:{self.server_address[1]}/shop@{digest}"


class Handler(BaseHTTPRequestHandler):
    """The three requests that a pull makes (OCI distribution specification, "Pull")."""

    server: Registry

    def do_GET(self) -> None:
        """The API's presence, a manifest, or a blob."""
        digest = self.path.rpartition("/")[2]
        blob = self.server.images / "blobs" / digest.replace(":", "/")
        if self.path == "/v2/":
            self.reply(200, b"{}", "application/json")
        elif not digest.startswith("sha256:") or not blob.exists():
            self.reply(404, b"{}", "application/json")
        else:
            content = self.server.spoiled.get(digest, blob.read_bytes())
            kind = "application/octet-stream"
            if "/manifests/" in self.path:
                kind = INDEX_TYPE if b'"manifests"' in content else MANIFEST_TYPE
            self.reply(200, content, kind)

    do_HEAD = do_GET  # noqa: N815  the name that http.server calls

    def reply(self, status: int, content: bytes, kind: str) -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "main.py").write_text("print('hello')\n")
    images = tmp_path / "images"
    app = App("shop", build=Build(), command=("python3", "main.py"))
    build_app(app, packages=None, folder=folder, tag="x", epoch=1_700_000_000, out=images)
    server = Registry(images)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def digest_of(folder: Path) -> str:
    return str(json.loads((folder / "shop.json").read_bytes())["manifests"][0]["digest"])


def test_an_image_arrives_as_it_is(registry: Registry, tmp_path: Path) -> None:
    digest = digest_of(registry.images)
    app = App("shop", image=registry.image(digest))
    fetch_image(app, tag=TAG, out=tmp_path / "out", insecure=True)
    assert digest_of(tmp_path / "out") == digest
    assert {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()} == {
        path.name for path in registry.images.rglob("*") if path.is_file()
    }


def test_of_several_platforms_ours_is_taken(registry: Registry, tmp_path: Path) -> None:
    digest = digest_of(registry.images)
    manifest = registry.images / "blobs" / digest.replace(":", "/")
    entry = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": manifest.stat().st_size}
    platforms = [
        {**entry, "platform": {"os": "linux", "architecture": "amd64"}},
        {
            **entry,
            "digest": f"sha256:{'1' * 64}",
            "platform": {"os": "linux", "architecture": "arm64"},
        },
    ]
    document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": platforms}
    index = put_bytes(registry.images, encode(document), INDEX_TYPE)
    app = App("shop", image=registry.image(f"sha256:{index.sha256}"))
    fetch_image(app, tag=TAG, out=tmp_path / "out", insecure=True)
    assert digest_of(tmp_path / "out") == digest


def test_another_content_under_the_digest_is_refused(registry: Registry, tmp_path: Path) -> None:
    digest = digest_of(registry.images)
    manifest = registry.images / "blobs" / digest.replace(":", "/")
    registry.spoiled[digest] = manifest.read_bytes().replace(b"schemaVersion", b"schemaversion")
    app = App("shop", image=registry.image(digest))
    with pytest.raises(CommandError, match="skopeo copy"):
        fetch_image(app, tag=TAG, out=tmp_path / "out", insecure=True)
    assert not (tmp_path / "out/shop.json").exists()


def test_an_image_that_is_not_there(registry: Registry, tmp_path: Path) -> None:
    app = App("shop", image=registry.image(f"sha256:{'0' * 64}"))
    with pytest.raises(CommandError, match="skopeo copy"):
        fetch_image(app, tag=TAG, out=tmp_path / "out", insecure=True)
