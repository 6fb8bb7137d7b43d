"""A tree of files becomes an OCI layer: the same tree gives the same bytes on every machine.

Layers are not compressed: a compressor's version would shape the bits, and the disk image is
compressed as a whole when it travels.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Final

from specs.errors import BakehouseError
from specs.facts import contents, travels

MEDIA_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
NONROOT: Final = 65532
"""Number of the account that apps run as by default; the one that distroless images use, too."""

DROPPED: Final = (
    "app",
    "dev/*",
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow*",
    "etc/hostname",
    "etc/hosts",
    "etc/machine-id",
    "etc/mtab",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow*",
    "etc/ssh/ssh_host_*",
    "etc/ssl/private/*",
    "etc/subgid*",
    "etc/subuid*",
    "proc/*",
    "run/*",
    "sys/*",
    "tmp/*",
    "usr/share/info/*",
    "usr/share/lintian",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/backups/*",
    "var/cache/*",
    "var/lib/apt/*",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/postgresql/*",
    "var/lib/systemd/*",
    "var/log/*",
    "var/tmp/*",
)
"""What packages leave in a tree and a container never needs, must not know, or cannot repeat."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's tar file; `sha256` is of that file, `size` in bytes."""

    path: Path
    sha256: str
    size: int


class _Hashing(io.RawIOBase):
    """A file that is only written to, hashing as it goes."""

    def __init__(self, target: IO[bytes]) -> None:
        self.target = target
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    # Narrower than its base's: tarfile writes nothing but bytes.
    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.digest.update(data)
        self.size += len(data)
        return self.target.write(data)


def packages_layer(rootfs: Path, *, epoch: int, out: Path) -> Layer:
    """The tree `rootfs` that Debian packages made, without what no container needs.

    Owners and modes are the tree's, times at most `epoch`; byte code is dropped, since it differs
    from run to run. The account `nonroot` is added. Licences (`copyright` files) stay.
    """
    return _write(rootfs, "", out, lambda path, info: _of_packages(path, info, epoch))


def folder_layer(folder: Path, *, epoch: int, out: Path) -> Layer:
    """The app's own `folder`, as `/app`: owned by root, not writable, every time `epoch`.

    Raises BakehouseError for anything but files, folders and symbolic links that stay inside.
    """
    base = folder.resolve()
    for _, path in contents(base):
        if path.is_symlink() and not path.resolve().is_relative_to(base):
            raise BakehouseError(
                f"{path}: this symbolic link leads out of the app's folder",
                "put a copy of what it points at into the folder",
            )
        if not (path.is_symlink() or path.is_file() or path.is_dir()):
            raise BakehouseError(f"{path}: neither a file nor a folder", "remove it")
    return _write(base, "app", out, lambda path, info: _of_folder(path, info, epoch))


def _of_packages(path: str, info: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo | None:
    parts = path.split("/")
    documentation = path.startswith("usr/share/doc/") and info.isreg() and parts[-1] != "copyright"
    if documentation or "__pycache__" in parts or _dropped(parts):
        return None
    info.mtime = min(int(info.mtime), epoch)
    return info


def _dropped(parts: list[str]) -> bool:
    """Whether the path or a folder above it is among `DROPPED`."""
    heads = ["/".join(parts[:depth]) for depth in range(1, min(len(parts), 4) + 1)]
    return any(fnmatchcase(head, pattern) for head in heads for pattern in DROPPED)


def _of_folder(path: str, info: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo | None:
    if not all(travels(part) for part in path.split("/")):
        return None
    info.uid = info.gid = 0
    info.mtime = epoch
    if not info.issym():
        info.mode = 0o755 if info.isdir() or info.mode & 0o111 else 0o644
    return info


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Everything below `root` as (path within, path), sorted by the bytes of the path within."""
    found = []
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder, name)
            found.append((path.relative_to(root).as_posix(), path))
    yield from sorted(found, key=lambda item: os.fsencode(item[0]))


def _write(
    root: Path,
    prefix: str,
    out: Path,
    change: Callable[[str, tarfile.TarInfo], tarfile.TarInfo | None],
) -> Layer:
    seen: dict[tuple[int, int], str] = {}
    with out.open("wb") as raw:
        hashing = _Hashing(raw)
        with tarfile.open(
            fileobj=hashing, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8"
        ) as tar:
            if prefix:
                top = change(prefix, _described(root, prefix, root.lstat()))
                assert top is not None
                tar.addfile(top)
            for within, path in _walk(root):
                name = f"{prefix}/{within}" if prefix else within
                facts = path.lstat()
                if stat.S_ISSOCK(facts.st_mode):
                    continue
                info = change(name, _described(path, name, facts))
                if info is not None:
                    _add(tar, info, path, facts, seen)
    return Layer(out, hashing.digest.hexdigest(), hashing.size)


def _described(path: Path, name: str, facts: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(facts.st_mode)
    info.uid, info.gid, info.mtime = facts.st_uid, facts.st_gid, int(facts.st_mtime)
    if stat.S_ISDIR(facts.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(facts.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
    elif stat.S_ISREG(facts.st_mode):
        info.size = facts.st_size
    elif stat.S_ISFIFO(facts.st_mode):
        info.type = tarfile.FIFOTYPE
    else:
        info.type = tarfile.CHRTYPE if stat.S_ISCHR(facts.st_mode) else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    return info


def _add(
    tar: tarfile.TarFile,
    info: tarfile.TarInfo,
    path: Path,
    facts: os.stat_result,
    seen: dict[tuple[int, int], str],
) -> None:
    """Writes one entry; a second name of the same file becomes a hard link to the first."""
    if not info.isreg():
        tar.addfile(info)
        return
    key = (facts.st_dev, facts.st_ino)
    if facts.st_nlink > 1 and key in seen:
        info.type, info.linkname, info.size = tarfile.LNKTYPE, seen[key], 0
        tar.addfile(info)
        return
    seen[key] = info.name
    if "security.capability" in os.listxattr(path, follow_symlinks=False):
        # The record that tar(1) and containerd share for extended attributes.
        value = os.getxattr(path, "security.capability", follow_symlinks=False)
        text = value.decode("utf-8", "surrogateescape")
        info.pax_headers = {"SCHILY.xattr.security.capability": text}
    extra = _account(info.name)
    if extra:
        content = path.read_bytes() + extra
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        return
    with path.open("rb") as content_file:
        tar.addfile(info, content_file)


def _account(name: str) -> bytes:
    """The line that makes `nonroot` known; programs look up the name of who they run as."""
    return {
        "etc/passwd": f"nonroot:x:{NONROOT}:{NONROOT}::/nonexistent:/usr/sbin/nologin\n".encode(),
        "etc/group": f"nonroot:x:{NONROOT}:\n".encode(),
    }.get(name, b"")
