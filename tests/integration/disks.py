"""Small layers with one of everything, what one sees of them, and disks made of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import struct
from pathlib import Path

from images.disk import Base, Disk, begin, content, pack

EPOCH = 1_700_000_000
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service=ep, as `struct vfs_cap_data` of linux/capability.h, revision 2."""
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, number)
    for tag, permissions, number in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 1234),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
"""u::rw-,u:1234:r--,g::r--,m::r--,o::--- as `struct posix_acl_xattr_header` and its entries."""
OURS = {"/boot/efi", "/boot/grub", "/boot/grub/grub.cfg", "/etc/fstab", "/lost+found"}
"""What the disk adds by itself."""


def made(
    base: Base,
    last: Path,
    out: Path,
    cache: Path,
    *,
    epoch: int = EPOCH,
    payloads: Path | None = None,
) -> Disk:
    """The two halves of making a disk, one after the other."""
    folder, nothing = (out.with_name(f"{out.name}.{name}") for name in ("making", "nothing"))
    below = content(base, cache)
    if payloads is None:
        nothing.mkdir()
        nothing.chmod(below[""].mode)
        os.utime(nothing, (below[""].mtime, below[""].mtime))
    draft = begin(base, below, payloads or nothing, folder, epoch=epoch, cache=cache)
    return pack(draft, last, out, epoch=epoch)


def write(path: Path, content: bytes | str = "", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def make_base(root: Path) -> Path:
    """A layer with one of everything."""
    write(root / "etc/hosts", "127.0.0.1 localhost\n")
    write(root / "etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    write(root / "usr/bin/su", b"\x7fELF" * 3000, 0o4755)
    write(root / "usr/bin/server", b"server" * 5000, 0o755)
    os.setxattr(root / "usr/bin/server", "security.capability", CAPABILITY)
    write(root / "usr/share/a", "one file, two names")
    os.link(root / "usr/share/a", root / "usr/share/b")
    os.link(root / "usr/share/a", root / "usr/share/c")
    for number in range(400):
        write(root / f"usr/share/many/a file with the long name {number:0100}", str(number))
    write(root / "usr/share/deep/er/and/deeper", "x" * 100_000)
    write(root / "usr/share/opaque/old", "old")
    write(root / "usr/share/opaque/sub/old", "old")
    (root / "usr/share/opaque/same").mkdir()
    write(root / "usr/share/becomes-link/content", "content")
    write(root / "usr/share/becomes-folder", "file")
    write(root / "usr/share/large-attribute", "x")
    os.setxattr(root / "usr/share/large-attribute", "user.large", b"v" * 3000)
    write(root / "usr/share/attributes", "x")
    os.setxattr(root / "usr/share/attributes", "user.goes", b"1")
    os.setxattr(root / "usr/share/attributes", "user.stays", b"2")
    (root / "usr/share/folder-with-attribute").mkdir()
    os.setxattr(root / "usr/share/folder-with-attribute", "user.goes", b"1")
    (root / "usr/share/folder-with-large-attribute").mkdir()
    os.setxattr(root / "usr/share/folder-with-large-attribute", "user.large", b"v" * 3000)
    write(root / 'usr/share/say "hello" to \\ spaces\tand ünïcode', "names")
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/share/long-link").symlink_to("x" * 200)
    (root / "var/tmp").mkdir(parents=True)
    (root / "var/tmp").chmod(0o1777)
    os.mknod(root / "var/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(root / "var/pipe")
    write(root / "var/journal", "log")
    os.setxattr(root / "var/journal", "system.posix_acl_access", ACL)
    os.chown(root / "var/journal", 70_000, 80_000)
    (root / "boot").mkdir()
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    os.utime(root, (1_600_000_000, 1_600_000_000))
    root.chmod(0o755)
    return root


def change(root: Path) -> None:
    """Everything that a bake may do to the files below it."""
    share = root / "usr/share"
    write(root / "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 host\n")
    write(root / "etc/new 'file' with \"quotes\"; and $(more)", "new")
    write(root / "usr/bin/su", b"\x7fELF" * 2000, 0o4755)
    (root / "usr/bin/server").unlink()
    (share / "b").unlink()
    (share / "a").write_text("now a file of its own")
    shutil.rmtree(share / "deep")
    for number in range(0, 400, 2):
        (share / f"many/a file with the long name {number:0100}").unlink()
    shutil.rmtree(share / "opaque")
    write(share / "opaque/new", "new")
    write(share / "opaque/sub/new", "new")
    (share / "opaque/same").mkdir()
    os.utime(share / "opaque/same", (1_600_000_000, 1_600_000_000))
    shutil.rmtree(share / "becomes-link")
    (share / "becomes-link").symlink_to("y" * 300)
    (share / "becomes-folder").unlink()
    write(share / "becomes-folder/file", "in a folder")
    (share / "large-attribute").unlink()
    os.removexattr(share / "attributes", "user.goes")
    os.removexattr(share / "folder-with-attribute", "user.goes")
    os.removexattr(share / "folder-with-large-attribute", "user.large")
    os.setxattr(share / "folder-with-attribute", "user.comes", bytes(range(256)))
    (share / 'say "hello" to \\ spaces\tand ünïcode').chmod(0o600)
    (root / "etc/dangling").symlink_to('/nowhere "at" all')
    os.mknod(root / "var/loop", 0o660 | stat.S_IFBLK, os.makedev(7, 300))
    os.mkfifo(root / "var/pipe 2", 0o600)
    os.chown(root / "var/pipe 2", 12, 34)
    write(root / "usr/bin/ping", b"ping" * 999, 0o755)
    os.setxattr(root / "usr/bin/ping", "security.capability", CAPABILITY)
    write(root / "var/acl", "x")
    os.setxattr(root / "var/acl", "system.posix_acl_access", ACL)
    (root / "var/inherits").mkdir()
    os.setxattr(root / "var/inherits", "system.posix_acl_default", ACL)
    first = write(root / "var/links/first", "linked")
    for number in range(40):
        os.link(first, root / f"var/links/{number:0250}")
    with write(root / "var/sparse").open("r+b") as sparse:
        sparse.seek(50_000_000)
        sparse.write(b"end")
    write(root / "var/large", hashlib.sha256(b"seed").digest() * 1_000_000)
    write(root / "boot/config", "n")
    write(root / "opt/app/image.tar", b"tar" * 1000)
    (root / "opt").chmod(0o750)
    os.chown(root / "opt/app", 1000, 1000)
    os.utime(root / "opt/app/image.tar", (EPOCH - 5, EPOCH - 5))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "var/socket"))


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """All that is to be the same, by path; names of one file know the first of them."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode):
            continue
        name = f"/{path.relative_to(root)}"
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = path.readlink()
        elif not stat.S_ISDIR(status.st_mode):
            content = status.st_rdev
        alone = stat.S_ISDIR(status.st_mode)
        found[name] = (
            oct(status.st_mode),
            (status.st_uid, status.st_gid),
            min(int(status.st_mtime), EPOCH),
            content,
            None if alone else first.setdefault(status.st_ino, name),
            {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.overlay.")
            },
        )
    return {name: facts for name, facts in found.items() if name not in OURS}
