"""Files of two trees, told by their manifests."""

from __future__ import annotations

import os
from pathlib import Path

from images.compare_files import LARGE, differences
from images.server import drift

EPOCH = 1_700_000_000


def tree(root: Path, files: dict[str, str | bytes], epoch: int = EPOCH) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (epoch, epoch))
    (root / drift.MANIFEST).parent.mkdir(parents=True, exist_ok=True)
    drift.record(root, epoch)
    return root


def test_configuration_by_its_text_and_folders_by_their_number(tmp_path: Path) -> None:
    one = tree(
        tmp_path / "one",
        {
            "etc/same": "same\n",
            "etc/told": "one\n",
            "etc/shadow": "day 1",
            "etc/limits": "limit = 100\n",
            "etc/gone": "gone\n",
            "etc/machine-id": "one",
            "usr/bin/tool": "1",
            "usr/bin/old": "1",
            "usr/share/doc/tool/copyright": "same",
            "usr/lib/bakehouse/guard.py": "1",
        },
    )
    two = tree(
        tmp_path / "two",
        {
            "etc/same": "same\n",
            "etc/told": "two\n",
            "etc/shadow": "day 2",
            "etc/limits": "limit = 50\n",
            "etc/empty": "",
            "etc/new": b"\xff\x00",
            "etc/large": "x" * (LARGE + 1),
            "etc/machine-id": "two",
            "usr/bin/tool": "2.0",
            "usr/bin/other": "1",
            "usr/share/doc/tool/copyright": "same",
            "usr/lib/bakehouse/guard.py": "2",
        },
        EPOCH,
    )
    (two / "etc/same").chmod(0o600)
    drift.record(two, EPOCH)

    found = {
        (kind, name): (old, new) for kind, name, old, new in differences(one, two, {"/etc/told"})
    }

    large, new = found.pop(("file", "/etc/large")), found.pop(("file", "/etc/new"))
    assert large[0] == new[0] == ""
    assert large[1].startswith("sha256 ") and new[1].startswith("sha256 ")
    owner = f"{os.getuid()}:{os.getgid()}"
    assert found == {
        ("file", "/etc/limits"): ("limit = 100\n", "limit = 50\n"),
        ("file", "/etc/gone"): ("gone\n", ""),
        ("file", "/etc/empty"): ("", " "),
        ("mode", "/etc/same"): (f"100644 {owner}", f"100600 {owner}"),
        ("files", "/usr/bin"): ("", "1 changed, 1 gone, 1 new"),
    }


def test_another_time_alone_is_no_difference_in_configuration(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", {"etc/one": "same\n", "etc/link": ""})
    two = tree(tmp_path / "two", {"etc/one": "same\n", "etc/link": ""}, EPOCH + 9)
    for root, target in ((one, "one"), (two, "two")):
        (root / "etc/link").unlink()
        (root / "etc/link").symlink_to(target)
        drift.record(root, EPOCH + 9)

    assert list(differences(one, two, ())) == [
        ("file", "/etc/link", "link to one", "link to two"),
    ]
