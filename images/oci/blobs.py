"""The folder that holds one image: an index under the app's name, and blobs by their digest."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from specs.errors import BakehouseError

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """Content by its digest, as OCI descriptors spell it; `size` in bytes."""

    media_type: str
    sha256: str
    size: int

    def descriptor(self, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The OCI descriptor."""
        found: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": f"sha256:{self.sha256}",
            "size": self.size,
        }
        return {**found, "annotations": dict(annotations)} if annotations else found


def blob_path(out: Path, sha256: str) -> Path:
    """Where the blob lies below the image folder `out`."""
    return out / "blobs" / "sha256" / sha256


def encode(document: Mapping[str, Any]) -> bytes:
    """JSON without spaces, keys sorted: one document, one digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def put_bytes(out: Path, content: bytes, media_type: str) -> Blob:
    """Store `content`."""
    return put_stream(out, (content,), media_type)


def put_stream(out: Path, chunks: Iterable[bytes], media_type: str, expected: str = "") -> Blob:
    """Store what the chunks add up to; published under its digest only when it is complete.

    Raises BakehouseError when `expected` (sha256 hex) is given and the content is another.
    """
    folder = blob_path(out, "x").parent
    folder.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".new-", delete=False) as file:
        temporary = Path(file.name)
        try:
            for chunk in chunks:
                digest.update(chunk)
                size += file.write(chunk)
            found = digest.hexdigest()
            if expected and found != expected:
                raise BakehouseError(
                    f"blob sha256:{expected} has the content of sha256:{found}",
                    "the image is damaged or was changed: fetch or export it again",
                )
        except BaseException:
            temporary.unlink()
            raise
    temporary.chmod(0o644)
    temporary.rename(blob_path(out, found))
    return Blob(media_type, found, size)


def put_link(out: Path, path: Path, blob: Blob) -> Blob:
    """Store the finished file `path` without a copy where the file system can link."""
    target = blob_path(out, blob.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            os.link(path, target)
        except OSError:
            with path.open("rb") as file:
                put_stream(out, chunks_of(file), blob.media_type, blob.sha256)
    return blob


def chunks_of(file: IO[bytes] | gzip.GzipFile) -> Iterable[bytes]:
    """The file in pieces of one MiB."""
    while chunk := file.read(CHUNK):
        yield chunk


def put_index(out: Path, app: str, tag: str, manifest: Blob) -> None:
    """Write `<app>.json`, which gives the manifest the name `tag` that Docker will know it by.

    The first annotation is containerd's, the second the one of the OCI layout.
    """
    names = {
        "io.containerd.image.name": tag,
        "org.opencontainers.image.ref.name": tag.rpartition(":")[2],
    }
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [manifest.descriptor(names)],
    }
    temporary = out / f".{app}.json.new"
    temporary.write_bytes(encode(index))
    temporary.rename(out / f"{app}.json")
