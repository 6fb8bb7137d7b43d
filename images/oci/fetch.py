"""Images made elsewhere: an archive beside the spec, or a registry's image by digest.

Both are checked blob by blob on the way in, so that a damaged archive fails the build and not the
first boot of a server.
"""

from __future__ import annotations

import gzip
import json
import re
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any, Final

from images.oci.blobs import (
    MANIFEST_TYPE,
    Blob,
    chunks_of,
    encode,
    put_bytes,
    put_index,
    put_stream,
)
from images.oci.build import CONFIG_TYPE
from images.oci.layer import MEDIA_TYPE
from images.run import run
from specs.errors import BakehouseError
from specs.model import App

INDEX_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
LARGEST_DOCUMENT: Final = 4 << 20
"""Bytes of a manifest or configuration; registries refuse larger manifests as well."""
EXPORT_AGAIN: Final = "export it again, with `docker save` or `skopeo copy … oci-archive:…`"


def fetch_command(image: str, out: Path, *, insecure: bool = False) -> list[str]:
    """Copy `image` (`name@sha256:…`) from its registry into the folder `out`, nothing changed.

    skopeo checks the manifest against the digest, and for an image of several platforms takes the
    one for linux/amd64. `insecure` speaks plain HTTP, for tests.
    """
    return [
        "skopeo",
        "copy",
        "--quiet",
        "--override-os=linux",
        "--override-arch=amd64",
        *(["--src-tls-verify=false"] if insecure else []),
        f"docker://{image}",
        f"dir:{out}",
    ]


def fetch_image(app: App, *, tag: str, out: Path, insecure: bool = False) -> None:
    """Fetch `app.image` and write it into the image folder `out`, named `tag`.

    Raises CommandError when the registry does not give it or gives another content, BakehouseError
    when what it gives is no image of the kind that Docker runs.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as scratch:
        run(fetch_command(app.image, Path(scratch), insecure=insecure))
        content = Path(scratch, "manifest.json").read_bytes()
        manifest = json.loads(content)
        if "config" not in manifest or "layers" not in manifest:
            raise BakehouseError(
                f"{app.image} is in a format that registries gave up (schema 1)",
                "push it again with a current tool, and name the new digest",
            )
        for inner in (manifest["config"], *manifest["layers"]):
            digest = str(inner["digest"]).removeprefix("sha256:")
            with Path(scratch, digest).open("rb") as file:
                put_stream(out, chunks_of(file), str(inner["mediaType"]), digest)
        kind = str(manifest.get("mediaType", MANIFEST_TYPE))
        put_index(out, app.name, tag, put_bytes(out, content, kind))


def import_archive(app: App, *, archive: Path, tag: str, out: Path) -> None:
    """Write the image in `archive` into the image folder `out`, named `tag`.

    Takes an OCI layout or what `docker save` writes, old or new, as a tar that may be compressed.
    Of an image for several platforms, linux/amd64 is taken.
    Raises BakehouseError when it holds no such image, or content that is not what its digest says.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            members = {member.name.removeprefix("./"): member for member in tar}
            source = _Source(archive, tar, members)
            oci = "index.json" in members and "oci-layout" in members
            manifest = _from_layout(source, out) if oci else _from_saved(source, out)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BakehouseError(f"{archive}: not a readable tar ({error})", EXPORT_AGAIN) from error
    put_index(out, app.name, tag, manifest)


class _Source:
    """An opened archive and its members by name."""

    def __init__(
        self, path: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]
    ) -> None:
        self.path, self.tar, self.members = path, tar, members

    def fail(self, why: str) -> BakehouseError:
        return BakehouseError(f"{self.path}: {why}", EXPORT_AGAIN)

    def open(self, name: str) -> IO[bytes]:
        member = self.members.get(name)
        file = self.tar.extractfile(member) if member else None
        if file is None:
            raise self.fail(f"{name} is missing")
        return file

    def document(self, name: str) -> Any:
        with self.open(name) as file:
            content = file.read(LARGEST_DOCUMENT)
        try:
            return json.loads(content)
        except ValueError as error:
            raise self.fail(f"{name} is not JSON") from error

    def blob(self, out: Path, descriptor: Any) -> Blob:
        """Copy the blob that the descriptor means, checking it."""
        found = DIGEST.fullmatch(str(descriptor.get("digest", "")))
        if not found:
            raise self.fail(f"a digest of another kind: {descriptor.get('digest')}")
        with self.open(f"blobs/sha256/{found[1]}") as file:
            return put_stream(out, chunks_of(file), str(descriptor.get("mediaType")), found[1])


def _from_layout(source: _Source, out: Path) -> Blob:
    try:
        descriptor = _choose(source, source.document("index.json")["manifests"])
        manifest = source.document(f"blobs/{descriptor['digest'].replace(':', '/')}")
        for inner in (manifest["config"], *manifest["layers"]):
            source.blob(out, inner)
        return source.blob(out, descriptor)
    except (KeyError, TypeError, AttributeError) as error:
        raise source.fail(f"not an OCI image ({error!r})") from error


def _choose(source: _Source, manifests: list[Any]) -> Any:
    """The one manifest for linux/amd64, through nested indexes."""
    platform = {"os": "linux", "architecture": "amd64"}
    fitting = [
        m
        for m in manifests
        if all(m.get("platform", platform).get(key) == value for key, value in platform.items())
    ]
    distinct = {m["digest"]: m for m in fitting}
    if len(distinct) != 1:
        raise source.fail(f"holds {len(distinct)} images for linux/amd64, not one")
    chosen = next(iter(distinct.values()))
    if chosen["mediaType"] in INDEX_TYPES:
        nested = source.document(f"blobs/{chosen['digest'].replace(':', '/')}")
        return _choose(source, nested["manifests"])
    return chosen


def _from_saved(source: _Source, out: Path) -> Blob:
    """The form of `docker save` before Docker 25: no digests but those in the configuration."""
    try:
        saved = source.document("manifest.json")
        if len(saved) != 1:
            raise source.fail(f"holds {len(saved)} images, not one")
        content = source.document(saved[0]["Config"])
        names, wanted = saved[0]["Layers"], content["rootfs"]["diff_ids"]
        if len(names) != len(wanted):
            raise source.fail("its layers and its configuration do not fit")
        layers = [_layer(source, out, *pair) for pair in zip(names, wanted, strict=True)]
        config = put_bytes(out, source.open(saved[0]["Config"]).read(), CONFIG_TYPE)
    except (KeyError, TypeError, AttributeError) as error:
        raise source.fail(f"not an image ({error!r})") from error
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    return put_bytes(out, encode(manifest), MANIFEST_TYPE)


def _layer(source: _Source, out: Path, name: str, diff_id: str) -> Blob:
    with source.open(name) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        with gzip.open(file) if packed else file as plain:
            return put_stream(out, chunks_of(plain), MEDIA_TYPE, diff_id.removeprefix("sha256:"))
