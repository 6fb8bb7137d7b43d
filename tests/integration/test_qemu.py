"""The guest that KVM is probed with really runs to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import kvm
from images.run import run

pytestmark = pytest.mark.root


def test_the_probe_guest_ends_by_itself(tmp_path: Path) -> None:
    disk = tmp_path / "guest"
    disk.write_bytes(kvm.GUEST)
    assert run(kvm.command("tcg", disk), check=False, timeout=120).code == kvm.DONE


def test_a_guest_that_hangs_is_not_trusted(tmp_path: Path) -> None:
    disk = tmp_path / "guest"
    disk.write_bytes(b"\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa")
    result = run(["timeout", "2", *kvm.command("tcg", disk)], check=False)
    assert result.code != kvm.DONE
