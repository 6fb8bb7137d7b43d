"""Proves a snapshot where it lies: a throwaway server of it, asked by the suite from here."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cloudinit.boot import boot
from cloudinit.facts import server_json
from images import ssh
from images.expectations import expectations
from images.home import Home
from images.hosts.keys import first_key
from images.packer.folder import PROOF, SERVER_PREFIX
from images.packer.gate import TREE
from images.progress import Progress
from images.providers.base import Order, Provider, Server, Stored
from images.providers.keys import operator_key
from images.recipe import Recipe
from images.secrets.deliver import deliver
from images.verify import SUITE, Asked, Report, await_units, reported, run_suite
from specs.errors import BakehouseError
from specs.needs import needed

PATIENCE: Final = 300.0
"""Seconds from a created server to its first login."""

SETTLE: Final = 300.0
"""Seconds that its services may take to become active."""

PAUSE: Final = 2.0

SEALED: Final = "test_10_sealed.py"
"""Looks at an image's files before any boot; nobody can look into a snapshot."""


def prove(
    provider: Provider,
    snapshot: Stored,
    recipe: Recipe,
    home: Home,
    progress: Progress,
    *,
    vendor_base: bool = True,
) -> Report:
    """Boot a throwaway of the snapshot, compare its files with those that were sealed, run the
    suite on it, delete it. Without `vendor_base` it has the locked packages and no others.

    Raises BakehouseError when it cannot be made or does not let us in.
    """
    say = progress.say
    started = time.monotonic()
    folder = home.work / "proof"
    folder.mkdir(mode=0o700)
    planted = {name: secrets.token_hex(16) for name in needed(recipe.plan.image)}
    expected = expectations(recipe.plan, planted, vendor_base=vendor_base)
    say("making a throwaway server")
    wanted = order(recipe, snapshot, home, folder)
    with throwaway(provider, wanted, progress.note) as server:
        plan = recipe.plan
        door = provider.door(server, folder, plan.server.admin, plan.image.ssh.port)
        await_login(door, server.name)
        deliver(door, planted)
        say("waiting for its services")
        await_units(door, expected, SETTLE)
        facts = folder / TREE / "etc/bakehouse"
        facts.mkdir(parents=True)
        text = server_json(plan.image)
        (facts / "server.json").write_text(text, encoding="utf-8")
        lines = [as_sealed(door)]
        lines += _lines(Asked(door, folder, addresses(server)), expected, say)
    shutil.rmtree(folder)
    return reported(lines, recipe.id, "", "cloud", started)


@contextmanager
def throwaway(provider: Provider, wanted: Order, note: Callable[[str], None]) -> Iterator[Server]:
    """A server that is gone afterwards, also when its making ended in an error; else it is told."""
    try:
        yield provider.create_server(wanted)
    finally:
        try:
            for left in provider.left_overs(re.compile(re.escape(wanted.name))):
                left.free()
        except BakehouseError as error:
            note(f"{wanted.name} costs money until the next build deletes it: {error.message}")


def order(recipe: Recipe, snapshot: Stored, home: Home, folder: Path) -> Order:
    """The throwaway; without the spec's label, so that no promote takes it for a server of its."""
    plan = replace(
        recipe.plan.server,
        role="throwaway",
        may_init=True,
        image_id=recipe.id,
        operator_keys=(operator_key(home).public,),
        first_key=first_key(folder).private,
    )
    name = f"{SERVER_PREFIX}{recipe.spec.name}{PROOF}"
    return Order(name, snapshot.handle, boot(plan), {})


def await_login(door: ssh.Door, name: str) -> None:
    """Raises BakehouseError when the server does not let us in."""
    deadline = time.monotonic() + PATIENCE
    while ssh.attempt(door, "true", timeout=30).code != 0:
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"{name} does not let us in by SSH after {PATIENCE:g} s",
                "see that this machine may reach the vendor's servers, and look at the console "
                "of a server made of the snapshot",
            )
        time.sleep(PAUSE)


def as_sealed(door: ssh.Door) -> dict[str, Any]:
    """A line of data as a test's: whether each file of the system is as the image's manifest has
    it."""
    words = "python3 -IB -m bakehouse.drift"
    found = json.loads(ssh.as_root(door, words, timeout=300).stdout)
    told = {kind: paths for kind, paths in found.items() if paths}
    outcome = "failed" if found["total"] else "passed"
    return {"test": "files_are_as_they_were_sealed", "outcome": outcome, "why": json.dumps(told)}


def addresses(server: Server) -> tuple[str, ...]:
    """Where the server is found, IPv4 first."""
    return tuple(address for address in (server.address, server.address6) if address)


def _lines(
    asked: Asked, expected: Mapping[str, Any], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """What the suite finds. A server that is a container shares its kernel: its tests know."""
    words = "systemd-detect-virt --container"
    inside = ssh.as_root(asked.door, words, timeout=60, check=False).code == 0
    tests = [str(file) for file in sorted(SUITE.glob("test_*.py")) if file.name != SEALED]
    kind = "nspawn" if inside else "cloud"
    return run_suite(asked, asked.folder / TREE, expected, kind, say=say, tests=tests)
