"""The gate: boots a throwaway copy of an image and proves it with the suite in `tests/image/`."""

from __future__ import annotations

import json
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
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
from images.ssh import ALIAS
from specs.errors import BakehouseError
from specs.needs import needed
from specs.plan import Plan

Kind = Literal["nspawn", "bios", "uefi"]
PROJECT: Final = Path(__file__).parents[1]
SUITE: Final = PROJECT / "tests/image"
SETTLE: Final = 180.0
"""Seconds that units may take to become active once the secrets are there."""

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
    kind: Kind
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
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Boot a throwaway of a raw image (or a tree) and prove it against its plan. Needs root.

    A failing suite is a report, not an error. `say` gets a line for each thing that happens.
    Raises BakehouseError when the machine does not boot at all, or the suite cannot run.
    """
    started = time.monotonic()
    planted = {name: secrets.token_hex(16) for name in needed(plan.image)}
    expected = expectations(plan, planted)
    with lab() as place, mounted(image, place.folder / "tree") as tree:
        say(f"booting ({kind})")
        with throwaway(place, image, plan, kind) as target:
            deliver(target.door, planted)
            say("waiting for its services")
            await_units(target, expected, SETTLE * (1 if kind == "nspawn" else SLOWDOWN))
            lines = _run_suite(target, tree, expected, kind, say)
    return Report(
        image=image_id or plan.server.image_id,
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


def await_units(target: Guest, expected: Mapping[str, Any], patience: float) -> None:
    """Wait until no expected unit is starting any more; the suite tells which is not active."""
    names = [*expected["units"], *expected["timers"]]
    question = f"systemctl is-system-running; systemctl is-active {shlex.join(names)}"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        states = target.run(question, check=False).stdout.split()
        if len(states) == len(names) + 1 and not UNSETTLED & {*states}:
            break  # fewer words: it does not answer yet
        time.sleep(0.5)


def suite_command(target: Guest, tree: Path, kind: Kind, expect: Path, results: Path) -> list[str]:
    """pytest with the machine as testinfra's host, on the client's side of the lab."""
    return [
        *target.door.prefix,
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "--tb=short",
        f"--config-file={SUITE}/pytest.ini",
        f"--hosts=ssh://{ALIAS}",
        f"--ssh-config={target.door.config}",
        "--sudo",
        f"--expect={expect}",
        f"--results={results}",
        f"--tree={tree}",
        *(f"--address={address}" for address in (target.address.v4, target.address.v6)),
        f"--kind={kind}",
        str(SUITE),
    ]


def _run_suite(
    target: Guest,
    tree: Path,
    expected: Mapping[str, Any],
    kind: Kind,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    expect, results = target.folder / "expect.json", target.folder / "results.jsonl"
    expect.write_text(json.dumps(expected), encoding="utf-8")
    results.touch()
    command = suite_command(target, tree, kind, expect, results)
    done = run(command, on_line=say, check=False, cwd=PROJECT)
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    if done.code not in (0, 1):
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise BakehouseError(f"the suite could not run (exit code {done.code})\n{tail}")
    return lines
