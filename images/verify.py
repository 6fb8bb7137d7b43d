"""The gate: boots a throwaway copy of an image and proves it with the suite in `tests/image/`."""

from __future__ import annotations

import json
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from cloudinit.boot import boot as boot_yaml
from images import machine, qemu
from images.expectations import expectations
from images.guest import Guest
from images.lab import Lab, lab
from images.machine import Description
from images.qemu import SLOWDOWN
from images.rootfs import mounted
from images.run import run
from images.secrets.deliver import deliver
from images.ssh import ALIAS, Door, as_root
from specs.errors import BakehouseError
from specs.needs import needed
from specs.plan import Plan

Kind = Literal["nspawn", "bios", "uefi"]
PROJECT: Final = Path(__file__).parents[1]
SUITE: Final = PROJECT / "tests/image"
EXPECT: Final = "expect.json"
RESULTS: Final = "results.jsonl"
SETTLE: Final = 180.0
"""Seconds that units may take to become active once the secrets are there."""

ANSWER: Final = 300.0
"""Seconds that an emulated machine may take to tell its units' states."""

UNSETTLED: Final = frozenset({"initializing", "starting", "activating", "reloading"})
"""States, of the system or of a unit, that will become another one by themselves."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed, and why."""

    test: str
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the suite found. `tests` counts those that ran; `skipped` maps others to the reason."""

    image: str
    digest: str
    kind: str
    date: str
    seconds: float
    tests: int
    failures: tuple[Failure, ...]
    skipped: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether anything ran and nothing failed."""
        return self.tests > 0 and not self.failures

    def as_json(self) -> str:
        """The form in which a store keeps it."""
        return json.dumps({**asdict(self), "passed": self.passed}, indent=1) + "\n"

    def summary(self) -> str:
        """A line on the whole, then one for each failure with the first lines of its reason."""
        verdict = "passed" if self.passed else f"{len(self.failures)} failed"
        lines = [f"{self.kind}: {self.tests} tests, {verdict}, {self.seconds:.1f} s"]
        for failure in self.failures:
            reason = " / ".join(failure.why.strip().splitlines()[:4])
            lines.append(f"  {failure.test}: {reason}")
        return "\n".join(lines)


def verify(
    image: Path,
    plan: Plan,
    *,
    kind: Kind = "nspawn",
    image_id: str = "",
    digest: str = "",
    vendor_base: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Boot a throwaway of a raw image (or a tree) and prove it against its plan. Needs root.

    With `vendor_base` it may hold packages that the lock does not name.
    A failing suite is a report, not an error. `say` gets a line for each thing that happens.
    Raises BakehouseError when the machine does not boot at all, or the suite cannot run.
    """
    started = time.monotonic()
    planted = {name: secrets.token_hex(16) for name in needed(plan.image)}
    expected = expectations(plan, planted, vendor_base=vendor_base)
    with lab() as place, mounted(image, place.folder / "tree") as tree:
        say(f"booting ({kind})")
        with throwaway(place, image, plan, kind) as target:
            deliver(target.door, planted)
            say("waiting for its services")
            await_units(target.door, expected, SETTLE * (1 if kind == "nspawn" else SLOWDOWN))
            asked = Asked(target.door, target.folder, (target.address.v4, target.address.v6))
            lines = run_suite(asked, tree, expected, kind, say=say)
    return reported(lines, image_id or plan.server.image_id, digest, kind, started)


def reported(
    lines: Sequence[Mapping[str, Any]], image_id: str, digest: str, kind: str, started: float
) -> Report:
    """The report on what `run_suite` returned; `started` is of the monotonic clock."""
    return Report(
        image=image_id,
        digest=digest,
        kind=kind,
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(time.monotonic() - started, 1),
        tests=sum(line["outcome"] != "skipped" for line in lines),
        failures=tuple(Failure(x["test"], x["why"]) for x in lines if x["outcome"] == "failed"),
        skipped={x["test"]: x["why"] for x in lines if x["outcome"] == "skipped"},
    )


@contextmanager
def throwaway(place: Lab, image: Path, plan: Plan, kind: Kind) -> Iterator[Guest]:
    """A throwaway server of this plan, which may make itself an empty database."""
    what = describe(image, plan)
    if kind == "nspawn":
        with machine.booted(place, what) as container:
            yield container
    else:
        with qemu.booted(place, what, kind) as virtual:
            yield virtual


def describe(image: Path, plan: Plan) -> Description:
    """The throwaway's description; its `boot.yaml` differs from a server's by role and key."""

    def user_data(key: str) -> str:
        server = replace(plan.server, role="throwaway", may_init=True, operator_keys=(key,))
        return boot_yaml(server)

    return Description(
        source=image,
        admin=plan.server.admin,
        user_data=user_data,
        hostname=plan.server.hostname,
        port=plan.image.ssh.port,
    )


def await_units(door: Door, expected: Mapping[str, Any], patience: float) -> None:
    """Wait until no expected unit is starting any more; the suite tells which is not active."""
    names = [*expected["units"], *expected["timers"]]
    question = f"systemctl is-system-running; systemctl is-active {shlex.join(names)}"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        states = as_root(door, question, timeout=ANSWER, check=False).stdout.split()
        if len(states) == len(names) + 1 and not UNSETTLED & {*states}:
            break  # fewer words: it does not answer yet
        time.sleep(0.5)


@dataclass(frozen=True, slots=True)
class Asked:
    """A machine that the suite asks: its door, a folder for what is written, its addresses."""

    door: Door
    folder: Path
    addresses: tuple[str, ...]


def suite_command(asked: Asked, tree: Path, kind: str, tests: Sequence[str]) -> list[str]:
    """pytest with the machine as testinfra's host, on the client's side of the lab."""
    return [
        *asked.door.prefix,
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "--tb=short",
        f"--config-file={SUITE}/pytest.ini",
        f"--hosts=ssh://{ALIAS}",
        f"--ssh-config={asked.door.config}",
        "--sudo",
        f"--expect={asked.folder / EXPECT}",
        f"--results={asked.folder / RESULTS}",
        f"--tree={tree}",
        *(f"--address={address}" for address in asked.addresses),
        f"--kind={kind}",
        *tests,
    ]


def run_suite(
    asked: Asked,
    tree: Path,
    expected: Mapping[str, Any],
    kind: str,
    *,
    say: Callable[[str], None],
    tests: Sequence[str] = (str(SUITE),),
) -> list[dict[str, Any]]:
    """Run the suite, or some of its tests, and return a line of data for each.

    `kind` is how the machine was booted: a `Kind`, `cloud`, or `baked` when it was not since its
    bake. Raises BakehouseError when the suite cannot run.
    """
    results = asked.folder / RESULTS
    (asked.folder / EXPECT).write_text(json.dumps(expected), encoding="utf-8")
    results.write_text("", encoding="utf-8")
    done = run(suite_command(asked, tree, kind, tests), on_line=say, check=False, cwd=PROJECT)
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    if done.code not in (0, 1):
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise BakehouseError(f"the suite could not run (exit code {done.code})\n{tail}")
    return lines
