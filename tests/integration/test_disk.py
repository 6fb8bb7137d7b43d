"""Packing for real: the same bits whatever the surroundings, and what overlayfs shows.

The tree is small and made here; the tools come from the release, as in a build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import rootfs
from images.disk import Base, Disk, Tools, chunks, gpt, pack
from images.disk.tools import use
from images.mounts import overlay
from images.run import run
from specs.errors import BakehouseError
from specs.packages import TOOLS

pytestmark = pytest.mark.root

EPOCH = 1_700_000_000
REPOSITORY = Path(__file__).parents[2]
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


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the tools that shape bits."""
    target = tmp_path_factory.mktemp("tools") / "root"
    include = f"--include={','.join(TOOLS)}"
    run(["mmdebstrap", "--quiet", "--variant=essential", include, "trixie", str(target)])
    return target


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a file system in memory."""
    folder = Path("/dev/shm") / f"bakehouse-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


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


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    """A base layer and the upper folder that a bake over it would leave."""
    base, upper = make_base(tmp_path / "base"), tmp_path / "upper"
    with overlay([base], upper, tmp_path / "scratch") as merged:
        change(merged)
    return [base, upper]


def packed(layers: list[Path], out: Path, tools: Path, cache: Path) -> Disk:
    """A disk of the first layer with each later one patched in."""
    *ground, last = layers
    made_with = Tools("test", tools)
    base = Base(tuple(ground[:1]), EPOCH, made_with)
    for own in ground[1:]:
        base = Base((own,), EPOCH, made_with, base)
    return pack(base, last, out, epoch=EPOCH, cache=cache)


def test_a_disk_holds_what_the_overlay_shows(
    layers: list[Path], tools: Path, tmp_path: Path
) -> None:
    disk = packed(layers, tmp_path / "disk.raw", tools, tmp_path / "cache")

    with overlay(layers[:1], layers[1], tmp_path / "again") as merged:
        expected = listing(merged)
        with rootfs.mounted(disk.path, tmp_path / "mounted") as root:
            found = listing(root)
            fstab = (root / "etc/fstab").read_text()
            menu = (root / "boot/grub/grub.cfg").read_text()

    assert found.keys() == expected.keys()
    other = {name: (facts, expected[name]) for name, facts in found.items()}
    assert {name: both for name, both in other.items() if both[0] != both[1]} == {}
    assert f"UUID={disk.root_uuid} / ext4" in fstab
    assert f"root=UUID={disk.root_uuid}" in menu


def test_the_same_bits_in_other_surroundings(
    layers: list[Path], tools: Path, tmp_path: Path, memory: Path
) -> None:
    first = packed(layers, tmp_path / "first.raw", tools, tmp_path / "cache")
    with_cache = packed(layers, tmp_path / "second.raw", tools, tmp_path / "cache")
    copies = [memory / layer.name for layer in layers]
    for layer, copy in zip(layers, copies, strict=True):
        run(["cp", "--archive", str(layer), str(copy)])
    (memory / "tmp").mkdir()
    program = (
        "import sys; from pathlib import Path; from images.disk import Base, Tools, pack; "
        "one, two, out, tools, cache = map(Path, sys.argv[1:]); "
        f"base = Base((one,), {EPOCH}, Tools('test', tools)); "
        f"print(pack(base, two, out, epoch={EPOCH}, cache=cache).digest)"
    )
    elsewhere = run(
        [
            *("sh", "-c", 'umask 077; exec "$@"', "sh", sys.executable, "-c", program),
            *map(str, (*copies, memory / "disk.raw", tools, memory / "cache")),
        ],
        env={"TMPDIR": str(memory / "tmp"), "TZ": "Asia/Tokyo", "LC_ALL": "C", "LANG": "tr_TR"},
        cwd=REPOSITORY,
    )

    assert with_cache.digest == first.digest
    assert elsewhere.stdout.strip() == first.digest
    run(["cmp", str(tmp_path / "first.raw"), str(memory / "disk.raw")])


def test_the_digest_is_that_of_every_byte(layers: list[Path], tools: Path, tmp_path: Path) -> None:
    disk = packed(layers, tmp_path / "disk.raw", tools, tmp_path / "cache")

    whole = hashlib.sha256()
    with disk.path.open("rb") as raw:
        while chunk := raw.read(chunks.CHUNK):
            whole.update(hashlib.sha256(chunk).digest())

    assert disk.digest == whole.hexdigest()
    assert disk.path.stat().st_size == disk.size
    assert disk.path.stat().st_blocks * 512 < disk.size / 2


def test_a_one_line_change_rewrites_little(layers: list[Path], tools: Path, tmp_path: Path) -> None:
    before = packed(layers, tmp_path / "before.raw", tools, tmp_path / "cache")
    write(layers[1] / "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 other\n")
    after = packed(layers, tmp_path / "after.raw", tools, tmp_path / "cache")

    pairs = zip(before.chunks.digests, after.chunks.digests, strict=True)
    assert 0 < sum(old != new for old, new in pairs) <= 4
    assert after.root_uuid == before.root_uuid


def test_a_layer_of_its_own_is_patched_into_the_base_and_kept(
    layers: list[Path], tools: Path, tmp_path: Path
) -> None:
    stack = [layers[0], layers[1], tmp_path / "third"]
    with overlay(stack[:2], stack[2], tmp_path / "more") as merged:
        write(merged / "usr/share/opaque/new", "newer")
        write(merged / "usr/bin/third", b"third" * 10_000)
        (merged / "usr/share/a").unlink()
    cold = packed(stack, tmp_path / "cold.raw", tools, tmp_path / "one")
    packed(layers, tmp_path / "two.raw", tools, tmp_path / "other")
    kept = set((tmp_path / "other").iterdir())
    warm = packed(stack, tmp_path / "warm.raw", tools, tmp_path / "other")

    assert warm.digest == cold.digest
    assert len(set((tmp_path / "other").iterdir()) - kept) == 1
    with overlay(stack[:2], stack[2], tmp_path / "again") as merged:
        expected = listing(merged)
        with rootfs.mounted(cold.path, tmp_path / "mounted") as root:
            found = listing(root)
    assert {name: facts for name, facts in found.items() if facts != expected.get(name)} == {}
    assert found.keys() == expected.keys()


def test_partitions_and_loaders(layers: list[Path], tools: Path, tmp_path: Path) -> None:
    disk = packed(layers, tmp_path / "disk.raw", tools, tmp_path / "cache")

    bios, esp, root = rootfs.read_partitions(disk.path)
    assert [bios.name, esp.name, root.name] == ["bios", "esp", "root"]
    assert root.offset == gpt.ROOT_START and root.size == gpt.root_size(disk.size)
    assert "No errors detected." in run(["sfdisk", "--verify", str(disk.path)]).stdout
    with disk.path.open("rb") as raw:
        sector = raw.read(512)
        raw.seek(bios.offset)
        core = raw.read(512)
    assert struct.unpack_from("<Q", sector, 0x5C) == (bios.offset // 512,)
    assert sector[-2:] == b"\x55\xaa" and b"GRUB" in sector
    assert struct.unpack_from("<Q", core, 500) == (bios.offset // 512 + 1,)
    inside = f"/mnt/work/{disk.path.name}@@{esp.offset}"
    argv = ["mcopy", "-i", inside, "::/EFI/BOOT/BOOTX64.EFI", "/mnt/work/loader"]
    use(tools, argv, work=disk.path.parent, epoch=EPOCH)
    loader = (tmp_path / "loader").read_bytes()
    assert loader[:2] == b"MZ" and disk.root_uuid.encode() in loader


def test_a_base_that_somebody_touched_is_made_again(
    layers: list[Path], tools: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = packed(layers, tmp_path / "first.raw", tools, cache)
    (base,) = cache.glob("*/*.raw")
    with base.open("r+b") as raw:
        raw.seek(gpt.ROOT_START + 8192)
        raw.write(b"bit rot")
    (tree,) = cache.glob("*/tree.json")
    tree.write_text(tree.read_text().replace("usr/bin/su", "usr/bin/sx"))
    (base.parent / "making").mkdir()
    (base.parent / "making/tree.tar").write_text("of a killed build")

    second = packed(layers, tmp_path / "second.raw", tools, cache)

    assert second.digest == first.digest
    assert not (base.parent / "making").exists()


def test_a_failed_step_of_debugfs_is_an_error(
    layers: list[Path], tools: Path, tmp_path: Path
) -> None:
    """debugfs itself ends with 0 whatever happens."""
    packed(layers, tmp_path / "disk.raw", tools, tmp_path / "cache")
    (folder,) = [path.parent for path in (tmp_path / "cache").glob("*/tree.json")]
    text = (
        (folder / "tree.json").read_text().partition("\n")[2].replace("usr/share/b", "usr/share/z")
    )
    (folder / "tree.json").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")

    with pytest.raises(BakehouseError, match=r"usr/share|File not found"):
        packed(layers, tmp_path / "other.raw", tools, tmp_path / "cache")
    assert not (tmp_path / "other.raw").exists()
    assert not (tmp_path / ".other.raw.making").exists()
