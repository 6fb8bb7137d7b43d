"""The SSH of a booted image, judged from the client's side by ssh-audit's own policy."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from images.lab import lab
from images.machine import Description, booted
from specs.plan import Role

pytestmark = pytest.mark.root

POLICY = "Hardened Debian 13 (version 1)"


def test_ssh_passes_the_policy(hobby: Callable[[Role, bool], Description]) -> None:
    with lab() as place, booted(place, hobby("throwaway", True)) as machine:
        audit = [sys.executable, "-m", "ssh_audit", "--no-colors", "-P", POLICY]
        done = machine.client([*audit, "-p", str(machine.what.port), machine.address.v4])
    assert f"Policy: {POLICY}" in done.stdout
    assert done.stdout.rstrip().endswith("Passed")
