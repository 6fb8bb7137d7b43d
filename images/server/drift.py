"""What of this server's system is not as its image has it.

    drift                  compare with the image's manifest; JSON: changed, added, removed, total
    drift record EPOCH     write the manifest, as the last step of a bake

The manifest has each file of `PARTS` with mode, owner, size and time of change, as an index of git
does, and for configuration and our own programs also its digest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

MANIFEST: Final = "usr/lib/bakehouse/manifest"
PARTS: Final = ("boot", "etc", "opt", "usr")
"""What nothing changes after the bake. The rest is data, state, or made anew at every boot."""

DIGESTED: Final = ("etc/", "opt/", "usr/lib/bakehouse/", "usr/local/")
LARGE: Final = 1 << 20
"""Bytes; larger files are known by size and time alone."""

LEARNT: Final = (
    "boot/grub/grub.cfg",  # made with the disk, after the manifest
    "etc/.updated",
    "etc/bakehouse/boot.json",
    "etc/cloud/*",
    "etc/fstab",
    "etc/hostname",
    "etc/hosts",
    "etc/ld.so.cache",
    "etc/machine-id",
    "etc/machine-info",
    "etc/netplan/*",
    "etc/postgresql/*/main/conf.d/*",
    "etc/resolv.conf",
    "etc/ssh/authorized_keys.d/*.boot",
    "etc/ssh/authorized_keys.d/bakehouse-peer",
    "etc/ssh/bakehouse-host.conf",
    "etc/ssh/ssh_host_*",
    "etc/systemd/network/*cloud-init*",
    "etc/systemd/network/20-bakehouse-floating.network",
)
"""What one server learns: at its first boot, and from swaps."""

SHOWN: Final = 20
"""Paths of each kind that are told; `total` counts all."""

Facts = tuple[str, ...]


def entries(root: Path, latest: int) -> Iterator[tuple[str, Facts]]:
    """Each file and link below the parts, by its path from the root.

    No time is later than `latest`, in seconds since 1970.
    """
    for part in PARTS:
        for folder, folders, files in os.walk(root / part):
            links = [name for name in folders if os.path.islink(f"{folder}/{name}")]  # noqa: PTH114
            for name in (*files, *links):
                path = f"{folder}/{name}"
                inside = os.path.relpath(path, root)
                if inside != MANIFEST:
                    yield inside, facts(path, inside, latest)


def facts(path: str, inside: str, latest: int) -> Facts:
    """What is compared of one file."""
    found = os.lstat(path)
    common = (f"{found.st_mode:o}", f"{found.st_uid}:{found.st_gid}")
    if stat.S_ISLNK(found.st_mode):
        return (*common, os.readlink(path))  # noqa: PTH115  a walk over 40,000 names
    if not stat.S_ISREG(found.st_mode):
        return common
    own = digest(Path(path)) if is_digested(inside, found.st_size) else ""
    return (*common, str(found.st_size), str(min(int(found.st_mtime), latest)), own)


def is_digested(inside: str, size: int) -> bool:
    """Whether a file is also known by its digest."""
    return inside.startswith(DIGESTED) and size <= LARGE


def digest(file: Path) -> str:
    """Of a file's content, hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def record(root: Path, latest: int) -> None:
    """Write the manifest of a tree whose times will be clamped to `latest`."""
    write(root / MANIFEST, dict(entries(root, latest)))


def write(file: Path, found: Mapping[str, Facts]) -> None:
    """A manifest: a line of JSON for each path, sorted."""
    lines = [json.dumps([path, *found[path]]) for path in sorted(found)]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    file.chmod(0o644)


def read(root: Path) -> dict[str, Facts]:
    """The manifest in a tree. Raises OSError without one."""
    lines = (root / MANIFEST).read_text(encoding="utf-8").splitlines()
    return {path: tuple(found) for path, *found in map(json.loads, lines)}


def compare(root: Path) -> dict[str, Any]:
    """What changed, came and went since the bake. Raises OSError without a manifest."""
    return differences(read(root), dict(entries(root, sys.maxsize)))


def differences(known: Mapping[str, Facts], found: Mapping[str, Facts]) -> dict[str, Any]:
    """As lists of paths, the first ones of each, and the `total` of all."""
    changed = [path for path in known.keys() & found.keys() if known[path] != found[path]]
    kinds = {
        "changed": changed,
        "added": list(found.keys() - known.keys()),
        "removed": list(known.keys() - found.keys()),
    }
    ours = {kind: sorted(filter(foreign, paths)) for kind, paths in kinds.items()}
    total = sum(map(len, ours.values()))
    return {**{kind: paths[:SHOWN] for kind, paths in ours.items()}, "total": total}


def foreign(path: str) -> bool:
    """Whether it is nothing that a server learns."""
    return not any(fnmatch(path, pattern) for pattern in LEARNT)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="drift", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("record").add_argument("epoch", type=int)
    words = parser.parse_args()
    root = Path("/")
    if words.verb == "record":
        record(root, words.epoch)
        return
    try:
        print(json.dumps(compare(root)))
    except OSError as error:
        print(f"<3>no manifest: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
