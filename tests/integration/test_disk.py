"""Packing for real: the same bits whatever the surroundings, and what overlayfs shows.

The tree is small and made here; the tools are those of a build.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import rootfs
from images.disk import Base, Disk, Tools, chunks, gpt
from images.disk.tools import use
from images.home import find_home
from images.mounts import overlay
from images.run import run
from specs.errors import BakehouseError
from tests.integration import vendor
from tests.integration.disks import EPOCH, OURS, change, listing, made, make_base, write

pytestmark = pytest.mark.root

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root with the tools that shape bits."""
    root = vendor.tools(find_home(), tmp_path_factory.mktemp("tools") / "root")
    yield root
    shutil.rmtree(root)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a file system in memory."""
    folder = Path("/dev/shm") / f"bakehouse-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


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
    return made(base, last, out, cache)


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
        "import sys; from pathlib import Path; from images.disk import Base, Tools; "
        "from tests.integration.disks import made; "
        "one, two, out, tools, cache = map(Path, sys.argv[1:]); "
        f"base = Base((one,), {EPOCH}, Tools('test', tools)); "
        "print(made(base, two, out, cache).digest)"
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


@pytest.mark.parametrize("size", [10, 4 * 10**8], ids=["fits", "needs a larger disk"])
def test_payloads_are_on_the_disk_before_the_last_layer(
    size: int, layers: list[Path], tools: Path, tmp_path: Path
) -> None:
    payloads = tmp_path / "payloads"
    write(payloads / "usr/lib/payload/blob", "payload" * 1000)
    write(payloads / "usr/lib/payload/replaced", "first")
    with overlay([layers[0], payloads], tmp_path / "last", tmp_path / "over") as merged:
        write(merged / "usr/lib/payload/replaced", "then")
        with write(merged / "usr/lib/large").open("r+b") as file:
            file.truncate(size)
        expected = listing(merged)
    base = Base(tuple(layers[:1]), EPOCH, Tools("test", tools))

    disk = made(
        base, tmp_path / "last", tmp_path / "disk.raw", tmp_path / "cache", payloads=payloads
    )

    with rootfs.mounted(disk.path, tmp_path / "mounted") as root:
        found = listing(root)
    for place in (found, expected):
        for path in OURS & place.keys() | {"/boot", "/etc"}:
            del place[path]
    assert found == expected
    assert not list(tmp_path.glob("*.making"))


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
