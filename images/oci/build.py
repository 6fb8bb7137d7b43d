"""An app's `build` becomes an image: Debian packages, the app's folder at /app, a command."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from images.oci import layer
from images.oci.blobs import (
    MANIFEST_TYPE,
    Blob,
    blob_path,
    encode,
    put_bytes,
    put_index,
    put_link,
)
from images.oci.layer import MEDIA_TYPE, NONROOT, Layer, folder_layer, packages_layer
from specs.model import App

CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
ENVIRONMENT: Final = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "HOME=/tmp",
    "PYTHONUNBUFFERED=1",
    "PYTHONDONTWRITEBYTECODE=1",
)


def pack_rootfs(rootfs: Path, *, epoch: int, cache: Path) -> Layer:
    """The packages layer of `rootfs`, kept in the folder `cache` for every app that shares it.

    `cache` belongs to this `rootfs` alone. A kept layer is used again when its content still has
    the digest in its name, and this code and `epoch` are the ones that made it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    source = Path(layer.__file__).read_bytes()
    made_by = hashlib.sha256(f"{epoch} ".encode() + source).hexdigest()[:16]
    for kept in cache.glob(f"{made_by}-*.tar"):
        with kept.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if kept.stem == f"{made_by}-{digest}":
            return Layer(kept, digest, kept.stat().st_size)
        kept.unlink()
    with tempfile.NamedTemporaryFile(dir=cache, prefix=".new-", delete=False) as new:
        temporary = Path(new.name)
    try:
        packed = packages_layer(rootfs, epoch=epoch, out=temporary)
        temporary.chmod(0o644)
        path = temporary.rename(cache / f"{made_by}-{packed.sha256}.tar")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Layer(path, packed.sha256, packed.size)


def build_app(
    app: App, *, packages: Layer | None, folder: Path | None, tag: str, epoch: int, out: Path
) -> None:
    """Write the image of a `build` app into the image folder `out`, named `tag`.

    `packages` comes from `pack_rootfs`, `folder` holds the app's own files; either may be None.
    `epoch` is seconds since 1970 and becomes the time of everything in it. The same arguments
    give the same bytes.
    """
    out.mkdir(parents=True, exist_ok=True)
    layers: list[tuple[Blob, str]] = []
    if packages:
        layers.append((_stored(packages, out), "Debian packages"))
    if folder:
        with tempfile.TemporaryDirectory(dir=out, prefix=".layer-") as scratch:
            own = folder_layer(folder, epoch=epoch, out=Path(scratch, "layer.tar"))
            layers.append((_stored(own, out), "the app's folder"))
    config = put_bytes(out, encode(_config(app, layers, epoch)), CONFIG_TYPE)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [blob.descriptor() for blob, _ in layers],
    }
    put_index(out, app.name, tag, put_bytes(out, encode(manifest), MANIFEST_TYPE))


def _stored(made: Layer, out: Path) -> Blob:
    blob = Blob(MEDIA_TYPE, made.sha256, made.size)
    put_link(out, made.path, blob)
    blob_path(out, made.sha256).chmod(0o644)
    return blob


def _config(app: App, layers: list[tuple[Blob, str]], epoch: int) -> dict[str, Any]:
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": app.user or f"{NONROOT}:{NONROOT}",
            "Env": list(ENVIRONMENT),
            "Cmd": list(app.command),
            "WorkingDir": "/app",
            "Labels": {"org.opencontainers.image.title": app.name},
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{blob.sha256}" for blob, _ in layers],
        },
        "history": [
            {"created": created, "created_by": "bakehouse", "comment": what} for _, what in layers
        ],
    }
