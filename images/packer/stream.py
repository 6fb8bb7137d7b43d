"""Puts a raw disk onto the disk of a server in its rescue system, and reads it back.

Packer calls it as a program, with the server's address and its temporary key in the environment;
what to send stands in the folder that is its one argument (`prepare`). Whatever differs fails
Packer's build, which then takes no snapshot: the server is never booted from its disk.

Nobody can tell us the rescue system's host key beforehand, so it is taken as it comes. The disk
holds nothing secret, and what becomes a snapshot is proven by a server that boots from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Final

from images import ssh
from images.run import run, show
from images.verify import PROJECT
from specs.errors import BakehouseError

ORDER: Final = "send.json"
DISKS: Final = ("/dev/sda", "/dev/vda")
"""The first disk, as Hetzner's servers name it: virtio-scsi, and virtio-blk."""

BLOCK: Final = 4 << 20
LIMIT: Final = 3600.0
"""Seconds for the whole disk: 400 MB compressed at 1 Mbit/s."""

FIND: Final = "set -e; for disk in {}; do test ! -b $disk || break; done; test -b $disk; "


def prepare(at: Path, raw: Path) -> str:
    """Lay out the new folder `at` for a raw disk; the program's command as a shell line."""
    at.mkdir(mode=0o700)
    with raw.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    order = {"raw": str(raw), "size": raw.stat().st_size, "sha256": digest}
    (at / ORDER).write_text(json.dumps(order), encoding="utf-8")
    words = ["env", f"PYTHONPATH={PROJECT}", sys.executable, "-m", "images.packer.stream", str(at)]
    return show(words)


def write_command() -> str:
    """For the rescue system: a zstd stream from standard input onto the first disk, and no cache
    of it left when the reading begins."""
    return (
        FIND.format(" ".join(DISKS))
        + f"zstd -q -dc | dd of=$disk bs={BLOCK} conv=fsync iflag=fullblock status=none; "
        + "blockdev --flushbufs $disk; echo 3 2>/dev/null >/proc/sys/vm/drop_caches || true"
    )


def read_command(size: int) -> str:
    """For the rescue system: the sha256 of the first `size` bytes of that disk."""
    return FIND.format(" ".join(DISKS)) + f"head -c {size} $disk | sha256sum"


def ssh_config(at: Path, host: str, port: int) -> str:
    """The way into the rescue system with the key `at`/key. Packer's own key may be RSA."""
    lines = (
        f"Host {ssh.ALIAS}",
        f"HostName {host}",
        f"Port {port}",
        "User root",
        f"IdentityFile {at}/key",
        "IdentitiesOnly yes",
        "IdentityAgent none",
        f"UserKnownHostsFile {at}/known_hosts",
        "StrictHostKeyChecking accept-new",
        "PubkeyAcceptedAlgorithms +ssh-rsa",
        "BatchMode yes",
        "LogLevel ERROR",
    )
    return "\n".join(lines) + "\n"


def send(at: Path, host: str, port: int, key: str) -> None:
    """Raises BakehouseError when the disk there does not hold what was sent."""
    order = json.loads((at / ORDER).read_text(encoding="utf-8"))
    (at / "key").touch(mode=0o600)
    (at / "key").write_text(key.rstrip("\n") + "\n", encoding="utf-8")
    (at / "ssh_config").write_text(ssh_config(at, host, port), encoding="utf-8")
    door = ssh.Door(at / "ssh_config")
    pipe = f"zstd -q -c -T0 {shlex.quote(order['raw'])} | {show(door.command(write_command()))}"
    run(["bash", "-o", "pipefail", "-c", pipe], timeout=LIMIT)
    found = run(door.command(read_command(order["size"])), timeout=LIMIT).stdout.split()
    if found[:1] != [order["sha256"]]:
        raise BakehouseError(
            f"the server's disk does not hold the image: {' '.join(found[:1]) or 'nothing'}",
            "run the build again; nothing was booted from it",
        )


def main() -> None:
    """Exit code 1 when it was not sent whole."""
    try:
        port = int(os.environ["RESCUE_PORT"])
        send(Path(sys.argv[1]), os.environ["RESCUE_HOST"], port, os.environ["RESCUE_KEY"])
    except BakehouseError as error:
        sys.exit(f"transfer: {error}")
    print("transfer: the disk was read back and is the image's")


if __name__ == "__main__":
    main()
