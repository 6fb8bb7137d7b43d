"""A paste bin over a folder: POST / stores text under its digest, GET /<digest> gives it back."""

from __future__ import annotations

import hashlib
import os
import tempfile
from http import HTTPStatus
from pathlib import Path

from .web import Answer, RefusalError, Request, serve, well


def store(folder: Path, content: bytes) -> str:
    """The content's name, once it is on the disk."""
    name = hashlib.sha256(content).hexdigest()
    if not (folder / name).exists():
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).rename(folder / name)
    return name


def main() -> None:
    """Serve."""
    folder = Path(os.environ.get("FILES", "/data"))

    def add(request: Request) -> Answer:
        return Answer({"name": store(folder, request.content)}, 201)

    def show(request: Request) -> Answer:
        path = folder / request.groups[0]
        if not path.exists():
            raise RefusalError(HTTPStatus.NOT_FOUND, "no such paste")
        return Answer(path.read_bytes(), kind="text/plain; charset=utf-8")

    serve({"POST /": add, "GET /healthz": well, r"GET /([0-9a-f]{64})": show})


if __name__ == "__main__":
    main()
