"""The gate before a snapshot: asks a server that was just baked, and not booted since.

Packer calls it as a program, with the server's address in its environment; what it needs beside
lies in the folder that is its one argument (`prepare`). A failure fails Packer's build, which then
takes no snapshot. The whole suite needs a boot and follows on the snapshot.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from images import ssh
from images.run import run
from images.verify import EXPECT, PROJECT, SUITE, Asked, run_suite
from specs.errors import BakehouseError

TESTS: Final = tuple(
    f"{SUITE}/test_20_system.py::test_{name}"
    for name in (
        "packages_are_exactly_the_locked_ones",
        "installed_files_are_as_packaged",
        "people",
        "nobody_else_can_log_in",
        "accounts_have_their_numbers",
        "sshd_settings",
        "units_start_at_boot",
        "kernel_settings",
        "time_and_language",
        "our_programs_are_unchanged",
    )
)
"""What holds before the first boot already."""

TREE: Final = "tree"
KNOWN: Final = "known_hosts"


def prepare(at: Path, expected: Mapping[str, Any], server_json: str, known: str) -> list[str]:
    """Lay out the gate's folder, with the key pair of `ssh.make_key` in it; returns its command.

    `known` is the server's public host key, where it was given one.
    """
    (at / EXPECT).write_text(json.dumps(expected), encoding="utf-8")
    facts = at / TREE / "etc/bakehouse"
    facts.mkdir(parents=True)
    (facts / "server.json").write_text(server_json, encoding="utf-8")
    if known:
        (at / KNOWN).write_text(ssh.known_host(known), encoding="utf-8")
    return ["env", f"PYTHONPATH={PROJECT}", sys.executable, "-m", "images.packer.gate", str(at)]


def pass_gate(at: Path, host: str, port: int) -> list[str]:
    """Ask the server by SSH; the tests that failed, each with its reason."""
    key = ssh.stored_key(at)
    if not (at / KNOWN).exists():  # nobody gave it a key: only where nobody stands between us
        scan = ["ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", str(port), host]
        found = run(scan).stdout.partition(" ")[2]
        (at / KNOWN).write_text(ssh.known_host(found), encoding="utf-8")
    config = at / "ssh_config"
    config.write_text(ssh.config_text(at, host, port, "root", key), encoding="utf-8")
    expected = json.loads((at / EXPECT).read_text(encoding="utf-8"))
    asked = Asked(ssh.Door(config), at, (host,))
    lines = run_suite(asked, at / TREE, expected, "baked", say=print, tests=TESTS)
    ssh.close(asked.door)
    return [f"{x['test']}: {x['why']}" for x in lines if x["outcome"] == "failed"]


def main() -> None:
    """Exit code 1 when a test failed."""
    at = Path(sys.argv[1])
    try:
        failed = pass_gate(at, os.environ["BAKED_HOST"], int(os.environ["BAKED_PORT"]))
    except BakehouseError as error:
        sys.exit(f"the gate: {error}")
    if failed:
        sys.exit("\n".join(["the baked server did not pass its gate", *failed]))
    print(f"the gate: {len(TESTS)} tests passed")


if __name__ == "__main__":
    main()
