"""The files and folders that a spec names: whether they are there, and digests of their content."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from specs import layout
from specs.errors import BakehouseError, UsageError
from specs.lock import Lock
from specs.model import App, Spec
from specs.plan import Payload

LEFT_OUT: Final = (
    ".git",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".DS_Store",
)
"""Names that neither count nor travel: what a working copy gathers beside its content."""

IMAGES: Final = f"{layout.LIB}/images"
SITES: Final = "/srv/sites"
ACME: Final = f"{layout.LIB}/acme"


@dataclass(frozen=True, slots=True)
class Named:
    """A file or folder that the spec names at `key`; `path` starts at the spec's folder."""

    key: tuple[str | int, ...]
    path: str
    kind: Literal["file", "folder"]

    def missing(self, folder: Path) -> tuple[str, str] | None:
        """Message and hint when it is not there, or is not what it should be."""
        found = folder / self.path
        if not found.exists():
            return f"there is no {self.kind} {self.path}", "paths start at the file that names them"
        if self.kind == "file" and not found.is_file():
            return f"{self.path} is not a file", "name a file"
        if self.kind == "folder" and not found.is_dir():
            return f"{self.path} is not a folder", "name a folder"
        return None


@dataclass(frozen=True, slots=True)
class Gathered:
    """The payloads of a spec, and by digest where each one's content lies.

    An app's `image` has no source on this machine, nor has a build without a folder.
    """

    payloads: tuple[Payload, ...]
    sources: Mapping[str, Path]


def named(spec: Spec) -> Iterator[Named]:
    """All that the spec names on disk."""
    for index, repository in enumerate(spec.system.repositories):
        yield Named(("system", "repositories", index, "key"), repository.key, "file")
    for app in spec.apps:
        if app.archive:
            yield Named(("apps", app.name, "archive"), app.archive, "file")
        if app.build and app.build.folder:
            yield Named(("apps", app.name, "build", "folder"), app.build.folder, "folder")
    if spec.caddy:
        if spec.caddy.acme_root:
            yield Named(("caddy", "acme_root"), spec.caddy.acme_root, "file")
        for site in spec.caddy.sites:
            if site.static:
                yield Named(("caddy", "sites", site.address, "static"), site.static, "folder")


def gather(spec: Spec, folder: Path, lock: Lock | None) -> Gathered:
    """The payloads of `spec`, whose paths start at `folder`. Reads only.

    Without a lock a built app's digest leaves out its packages, so it is good for reading only.
    Raises UsageError when something named is not there, BakehouseError for content that cannot
    travel.
    """
    for wanted in named(spec):
        wrong = wanted.missing(folder)
        if wrong:
            raise UsageError(wrong[0], wrong[1])
    payloads: list[Payload] = []
    sources: dict[str, Path] = {}
    for app in spec.apps:
        digest, source = _app(app, folder, lock)
        payloads.append(Payload(f"app/{app.name}", digest, IMAGES))
        if source:
            sources[digest] = source
    for site in spec.caddy.sites if spec.caddy else ():
        if site.static:
            digest = folder_digest(folder / site.static)
            payloads.append(
                Payload(f"static/{site.address}", digest, f"{SITES}/{slug(site.address)}")
            )
            sources[digest] = folder / site.static
    if spec.caddy and spec.caddy.acme_root:
        root = folder / spec.caddy.acme_root
        digest = _over("file", root.name, file_digest(root))
        payloads.append(Payload("files/acme-root", digest, ACME))
        sources[digest] = root
    return Gathered(tuple(sorted(payloads)), sources)


def _app(app: App, folder: Path, lock: Lock | None) -> tuple[str, Path | None]:
    """The digest of an app's image folder, which holds `<app>.tar`, and where it comes from."""
    if app.image:
        return _over("image", app.name, app.image.rpartition("@")[2]), None
    if app.archive:
        archive = folder / app.archive
        return _over("archive", app.name, file_digest(archive)), archive
    assert app.build is not None
    source = folder / app.build.folder if app.build.folder else None
    packages = lock.app_packages(app.name) if lock and app.build.packages else ()
    made_from = {
        "folder": folder_digest(source) if source else "",
        "packages": [package.sha256 for package in packages],
        "command": app.command,
        "user": app.user,
        "epoch": lock.epoch if lock else 0,
    }
    return _over("build", app.name, made_from), source


def _over(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def slug(address: str) -> str:
    """A site's address as the name of a folder; different addresses give different names."""
    return address.replace("http://", "http_").replace(":", "port_")


def file_digest(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """sha256 over what a folder holds: paths, content, links, and which files are programs.

    Owners, times and other modes do not count: they are set anew when the folder travels. Raises
    BakehouseError for a link that leads out of the folder, a device, a pipe or a socket.
    """
    digest = hashlib.sha256()
    for name, path in contents(folder):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            entry = ("link", name, _link(folder, path))
        elif stat.S_ISDIR(mode):
            entry = ("folder", name, "")
        elif stat.S_ISREG(mode):
            entry = ("program" if mode & 0o111 else "file", name, file_digest(path))
        else:
            raise BakehouseError(f"{path} is neither a file nor a folder", "remove it")
        digest.update(json.dumps(entry).encode() + b"\n")
    return digest.hexdigest()


def travels(name: str) -> bool:
    """Whether a file or folder of this name is content, not what a working copy gathers."""
    return name not in LEFT_OUT and not name.endswith(".pyc")


def contents(folder: Path) -> Iterator[tuple[str, Path]]:
    """Everything below `folder` that travels, as (path within, path), sorted by the path within."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if travels(name)]
        for name in (*folders, *filter(travels, files)):
            path = Path(here, name)
            found.append((path.relative_to(folder).as_posix(), path))
    return iter(sorted(found))


def _link(folder: Path, path: Path) -> str:
    target = os.readlink(path)  # noqa: PTH115 - the text of the link, not a Path made of it
    if target.startswith("/") or not path.resolve().is_relative_to(folder.resolve()):
        raise BakehouseError(
            f"the link {path} leads out of {folder}", "replace it by what it points at"
        )
    return target
