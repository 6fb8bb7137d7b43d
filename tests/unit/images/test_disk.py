"""The pure parts of packing: layers as data, debugfs scripts, loaders, sizes, digests."""

from __future__ import annotations

import hashlib
import struct
import tarfile
from pathlib import Path

import pytest

from images.disk import boot, chunks, ext4, gpt, tree
from images.disk.tools import command
from images.disk.tree import Entry
from specs.errors import BakehouseError

FILE = Entry("file", 0o644)
FOLDER = Entry("dir")
GONE = Entry("whiteout")
BASE = {
    "": FOLDER,
    "etc": FOLDER,
    "etc-like": FILE,
    "etc/a": FILE,
    "etc/b": FILE,
    "etc/sub": FOLDER,
    "etc/sub/c": FILE,
}


def script(base: tree.Tree, layer: tree.Tree, folder: Path) -> list[str]:
    return list(ext4.patch_script(base, layer, ext4.Values(folder / "values")))


def test_a_whiteout_hides_a_file_and_a_folder_with_its_content() -> None:
    assert list(tree.merge(BASE, {"": FOLDER, "etc/a": GONE})) == [p for p in BASE if p != "etc/a"]
    assert list(tree.merge(BASE, {"": FOLDER, "etc": GONE})) == ["", "etc-like"]


def test_an_opaque_folder_hides_content_but_stays() -> None:
    opaque = {"": FOLDER, "etc": Entry("dir", opaque=True), "etc/new": FILE}
    assert list(tree.merge(BASE, opaque)) == ["", "etc", "etc-like", "etc/new"]
    assert tree.hidden(BASE, opaque) == {"etc/a", "etc/b", "etc/sub", "etc/sub/c"}


def test_a_link_in_the_place_of_a_folder_hides_it() -> None:
    link = Entry("symlink", 0o777, target="/other")
    merged = tree.merge(BASE, {"": FOLDER, "etc": link})
    assert merged == {"": FOLDER, "etc": link, "etc-like": FILE}


def test_a_scan_is_sorted_clamped_and_reads_content_facts(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/file").write_text("text")
    (tmp_path / "a").symlink_to("b/file")
    (tmp_path / "b/second").hardlink_to(tmp_path / "b/file")

    found = tree.scan(tmp_path, epoch=1000)

    assert list(found) == ["", "a", "b", "b/file", "b/second"]
    assert {entry.mtime for entry in found.values()} == {1000}
    assert found["a"].target == "b/file"
    assert found["b/file"].link == found["b/second"].link != ""
    assert found["b/file"].size == 4


@pytest.mark.parametrize("name", ["two\nlines", "carriage\rreturn"])
def test_a_name_with_a_line_break_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(BakehouseError, match="line break"):
        tree.scan(tmp_path, epoch=0)


def test_a_tree_survives_being_written_down() -> None:
    odd = Entry("file", 0o4755, 1, 2, 3, 4, link="5:6", xattrs=(("user.x", b"\x00\xff"),))
    known = {"": FOLDER, "na\udcffme": odd}
    assert tree.parse(tree.dump(known)) == known


def test_used_counts_whole_blocks_and_each_file_once() -> None:
    linked = Entry("file", size=5000, link="1:1")
    assert tree.used({"": FOLDER, "a": linked, "b": linked, "c": FILE}) == (4096 + 8192, 3)


def test_a_folder_that_stays_as_it_is_costs_nothing(tmp_path: Path) -> None:
    assert script(BASE, {"": FOLDER, "etc": FOLDER}, tmp_path) == []


def test_a_replaced_file_is_removed_written_and_described(tmp_path: Path) -> None:
    new = Entry("file", 0o4750, uid=70_000, gid=8, mtime=99)
    assert script(BASE, {"": FOLDER, "etc": FOLDER, "etc/a": new}, tmp_path) == [
        'rm "/etc/a"',
        'write "/mnt/layer/etc/a" "/etc/a"',
        'sif "/etc/a" mode 0104750',
        'sif "/etc/a" uid 70000',
        'sif "/etc/a" gid 8',
        'sif "/etc/a" atime @99',
        'sif "/etc/a" ctime @99',
        'sif "/etc/a" mtime @99',
    ]


def test_a_removed_folder_goes_after_its_content(tmp_path: Path) -> None:
    assert script(BASE, {"": FOLDER, "etc/sub": GONE}, tmp_path) == [
        'rm "/etc/sub/c"',
        'rmdir "/etc/sub"',
    ]


def test_a_folder_made_again_in_an_opaque_one_is_made(tmp_path: Path) -> None:
    opaque = {"": FOLDER, "etc": Entry("dir", opaque=True), "etc/sub": FOLDER}
    lines = script(BASE, opaque, tmp_path)
    assert lines[1] == 'rmdir "/etc/sub"'
    assert lines[4] == 'mkdir "/etc/sub"'


def test_names_are_quoted_as_debugfs_reads_them() -> None:
    assert ext4.word('/a "b" c') == '"/a ""b"" c"'


def test_attributes_that_a_folder_loses_are_removed(tmp_path: Path) -> None:
    before = {"": FOLDER, "d": Entry("dir", xattrs=(("user.a", b"1"), ("user.b", b"2")))}
    after = {"": FOLDER, "d": Entry("dir", xattrs=(("user.b", b"3"),))}
    assert script(before, after, tmp_path)[-2:] == [
        'ea_rm "/d" "user.a"',
        'ea_set -f /mnt/values/0 "/d" "user.b"',
    ]
    assert (tmp_path / "values/0").read_bytes() == b"3"


def test_further_names_of_a_file_are_linked_and_counted(tmp_path: Path) -> None:
    linked = Entry("file", link="1:1")
    lines = script({"": FOLDER}, {"": FOLDER, "a": linked, "b": linked, "c": linked}, tmp_path)
    assert [line for line in lines if line.startswith(("expand", "ln", "write"))] == [
        'write "/mnt/layer/a" "/a"',
        'expand_dir "/"',
        'ln "/a" "/b"',
        'ln "/a" "/c"',
    ]
    assert 'sif "/c" links_count 3' in lines


def test_a_device_is_made_inside_its_folder(tmp_path: Path) -> None:
    device = Entry("block", device=(7, 300))
    lines = script(BASE, {"": FOLDER, "etc": FOLDER, "etc/loop x": device}, tmp_path)
    assert lines[:3] == ['cd "/etc"', 'mknod "loop x" b 7 300', "cd /"]


def test_the_archive_keeps_order_names_and_links(tmp_path: Path) -> None:
    (tmp_path / "content").write_text("text")
    file = Entry("file", 0o600, 1, 2, 3, size=4, link="1:1", source=str(tmp_path / "content"))
    made_up = Entry("file", size=2, content=b"hi")
    known = {"": FOLDER, "a": file, "b": file, "c": made_up, "na\udcffme": FILE}
    known["na\udcffme"] = Entry("symlink", target="a")

    with (tmp_path / "tar").open("wb") as out:
        ext4.write_archive(known, out)

    with tarfile.open(tmp_path / "tar") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [".", "./a", "./b", "./c", "./na\udcffme"]
        assert members[2].islnk() and members[2].linkname == "./a"
        assert (members[1].mode, members[1].uid, members[1].gid) == (0o600, 1, 2)
        assert members[1].pax_headers["ctime"] == "3"
        content = archive.extractfile(members[3])
        assert content is not None and content.read() == b"hi"


def test_the_boot_sector_is_told_where_the_core_lies() -> None:
    sector = boot.boot_sector(bytes(range(256)) * 2, 2048)
    assert len(sector) == 440
    assert sector[0x5C:0x64] == struct.pack("<Q", 2048)
    assert sector[0x64:0x68] == b"\xff\x65\x90\x90"


def test_the_core_is_told_where_its_rest_lies() -> None:
    core = boot.core(b"c" * 1300, 2048)
    assert len(core) == 1536
    assert core[500:512] == struct.pack("<QHH", 2049, 2, 0x820)
    assert core[488:500] == bytes(12)
    assert core[1300:] == bytes(236)


@pytest.mark.parametrize("size", [100, 512, 600_000])
def test_a_core_that_cannot_be_loaded_is_refused(size: int) -> None:
    with pytest.raises(BakehouseError, match=r"core\.img"):
        boot.core(bytes(size), 2048)


def test_menu_and_mounts_name_the_file_systems() -> None:
    ids = gpt.names("seed")
    assert f"root=UUID={ids.file_system}" in boot.grub_cfg(ids.file_system)
    assert boot.grub_cfg(ids.file_system).count("console=ttyS0,115200") == 1
    assert boot.fstab(ids).splitlines()[0].startswith(f"UUID={ids.file_system} / ext4")


def test_identifiers_differ_and_depend_on_the_seed_alone() -> None:
    ids = gpt.names("seed")
    assert ids == gpt.names("seed") != gpt.names("other")
    assert len({ids.disk, ids.bios, ids.esp, ids.root, ids.file_system, ids.hash_seed}) == 6
    assert len(ids.volume_uuid) == 9


def test_a_disk_has_room_for_content_and_for_many_small_files() -> None:
    assert gpt.disk_size({"": FOLDER}) == 768 * gpt.MIB
    assert gpt.disk_size({"": FOLDER, "a": Entry("file", size=1024 * gpt.MIB)}) == 2048 * gpt.MIB
    small = {f"{number:06}": Entry("file", size=1) for number in range(100_000)}
    assert gpt.root_size(gpt.disk_size(small)) // 16384 > 100_000


def test_the_root_is_last_and_starts_on_a_chunk() -> None:
    assert gpt.ROOT_START % chunks.CHUNK == 0
    lines = gpt.script(gpt.names("seed"), 1024 * gpt.MIB).splitlines()
    starts = [int(line.split(",")[0].removeprefix("start=")) for line in lines if "start=" in line]
    assert starts == sorted(starts) and starts[-1] * 512 == gpt.ROOT_START


def plain_digest(path: Path) -> str:
    content = path.read_bytes()
    parts = range(0, len(content), chunks.CHUNK)
    digests = [hashlib.sha256(content[at : at + chunks.CHUNK]).digest() for at in parts]
    return hashlib.sha256(b"".join(digests)).hexdigest()


def test_the_digest_of_a_disk_with_holes_and_a_short_end(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.seek(9 * 1024 * 1024)
        file.write(b"data")
        file.truncate(21 * 1024 * 1024)
    assert chunks.digest(disk).digest == plain_digest(disk)


def test_known_chunks_are_taken_and_changed_ones_are_not(tmp_path: Path) -> None:
    base, disk = tmp_path / "base", tmp_path / "disk"
    base.write_bytes(b"x" * (3 * chunks.CHUNK))
    known = chunks.digest(base)
    chunks.copy_sparse(base, disk)
    with disk.open("r+b") as file:
        file.seek(chunks.CHUNK + 5)
        file.write(b"y")

    found = chunks.digest(disk, base, known)

    assert found.digest == plain_digest(disk)
    assert [a == b for a, b in zip(found.digests, known.digests, strict=True)] == [
        True,
        False,
        True,
    ]


def test_a_sparse_copy_keeps_content_and_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.seek(50 * 1024 * 1024)
        file.write(b"data")
        file.truncate(60 * 1024 * 1024)
    chunks.copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 1024 * 1024


def test_tools_run_in_a_world_of_their_own() -> None:
    words = command(Path("/tools"), ["mke2fs"], work=Path("/w"), binds={}, epoch=7)
    assert words[:2] == ["unshare", "--mount"] and words[-1] == "mke2fs"
    assert {"LC_ALL=C.UTF-8", "TZ=UTC", "SOURCE_DATE_EPOCH=7"} <= set(words)
