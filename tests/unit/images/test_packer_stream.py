"""What is said to a rescue system, and what is laid out for whoever says it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from images.packer import stream


def test_what_is_sent_is_known_by_its_digest(tmp_path: Path) -> None:
    raw = tmp_path / "image.raw"
    raw.write_bytes(b"disk" * 1000)
    line = stream.prepare(tmp_path / "send", raw)
    order = json.loads((tmp_path / "send" / stream.ORDER).read_text())
    digest = hashlib.sha256(b"disk" * 1000).hexdigest()
    assert order == {"raw": str(raw), "size": 4000, "sha256": digest}
    assert line.endswith(f"-m images.packer.stream {tmp_path}/send")
    assert (tmp_path / "send").stat().st_mode & 0o777 == 0o700


def test_as_much_is_read_back_as_was_written() -> None:
    write, read = stream.write_command(), stream.read_command(4000)
    look = "set -e; for disk in /dev/sda /dev/vda; do test ! -b $disk || break; done; "
    assert write.startswith(look)
    assert read.startswith(look)
    assert "conv=fsync" in write
    assert "blockdev --flushbufs $disk" in write
    assert read.endswith("head -c 4000 $disk | sha256sum")


def test_the_rescue_system_is_nobody_s_known_host(tmp_path: Path) -> None:
    """Its key is new at each boot: it must not be remembered beside those of servers."""
    text = stream.ssh_config(tmp_path, "192.0.2.1", 22)
    assert f"UserKnownHostsFile {tmp_path}/known_hosts\n" in text
    assert f"IdentityFile {tmp_path}/key\n" in text
    assert "HostName 192.0.2.1\n" in text
