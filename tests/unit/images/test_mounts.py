"""Which mounts a process that lives long lets go of."""

from __future__ import annotations

from pathlib import Path

from images.mounts import unescaped, unneeded

TABLE = """\
1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 0:21 / /proc rw - proc proc rw
3 2 0:22 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
4 1 0:23 / /run rw - tmpfs tmpfs rw
5 4 0:4 net:[4026532177] /run/netns/bhc-1 rw - nsfs nsfs rw
6 4 0:4 net:[4026532178] /run/netns/other rw - nsfs nsfs rw
7 1 254:1 / /home rw - ext4 /dev/vdb rw
8 1 7:0 / /mnt/a\\040disk ro - ext4 /dev/loop0 ro
9 8 7:1 / /mnt/a\\040disk/inner ro - ext4 /dev/loop1 ro
"""


def test_only_what_is_needed_stays() -> None:
    needed = [Path("/run/netns/bhc-1"), Path("/home/me/.local/share/bakehouse/cloud")]
    assert unneeded(TABLE, needed) == [
        Path("/mnt/a disk/inner"),
        Path("/mnt/a disk"),
        Path("/run/netns/other"),
    ]


def test_the_kernel_s_octal_numbers() -> None:
    assert unescaped(r"/a\040b\134c") == r"/a b\c"
