"""Runs Packer through packer.py: its lines as they come, and its failures in our words."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packerpy import PackerExecutable

from images.packer import folder
from images.run import TAIL, masked
from specs.errors import BakehouseError


class NoCapacityError(BakehouseError):
    """The vendor has no such server to rent out there and now; elsewhere it may."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What Packer's output says (`found`), and what that means."""

    found: re.Pattern[str]
    why: str
    hint: str
    elsewhere: bool = False


def _said(*texts: str) -> re.Pattern[str]:
    return re.compile("|".join(texts), re.IGNORECASE)


CAUSES: Final = (
    Cause(
        _said(r"\(unauthorized\)", "unable to authenticate", r"\b401\b"),
        "the vendor refuses the token",
        "set the token's variable (docs/packer.md) to one that is valid and may write",
    ),
    Cause(
        _said(r"\(forbidden\)", "token_readonly", r"\b403\b", "not have permission"),
        "the token may not do that",
        "make a token that may read and write, with the scopes of docs/packer.md",
    ),
    Cause(
        _said("resource_limit_exceeded", "limit reached", "exceed your droplet limit"),
        "the account's limit of servers is reached",
        "`invoke gc --spec FILE` frees what nothing needs; or ask the vendor for a higher limit",
    ),
    Cause(
        _said(
            "resource_unavailable",
            "placement_error",
            "error during placement",
            "out of capacity",
            "not available in this region",
            "unsupported location for server type",
            "could not find server type",
            "server type .*(unavailable|deprecated|not found)",
            "currently disabled",
        ),
        "the vendor has no such server there at present",
        "name further places in deploy.locations or deploy.server_types: they are tried in order",
        elsewhere=True,
    ),
    Cause(
        _said("uniqueness_error", "already used", "already in use on your account"),
        "the name is taken at the vendor",
        "a build of this spec may run; if none does, `invoke gc --spec FILE` frees what it left",
    ),
    Cause(
        _said("rate_limit_exceeded", "too many requests", r"\b429\b"),
        "the vendor takes no more requests for now",
        "wait some minutes and run the build again",
    ),
    Cause(
        _said("connection refused", "no such host", "i/o timeout calling", r"\b50[234]\b"),
        "the vendor's API cannot be reached",
        "run the build again once it answers; what this run made is deleted by the next",
    ),
)
"""The first that fits is told. The words are those of the vendors' error bodies (Hetzner Cloud API,
"Errors"; DigitalOcean API, "HTTP statuses") as Packer repeats them."""


def build(
    at: Path,
    builder: str,
    variables: Mapping[str, str],
    *,
    env: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    template: str = folder.TEMPLATE,
    say: Callable[[str], None],
) -> None:
    """Run `packer build` for one builder of the template in the folder `at`; `say` gets each line
    as it comes.

    `variables` are added to the folder's own file (first-boot data has a host key in it, so they
    are no words of a command), `env` to Packer's environment; `secrets` are masked wherever lines
    are shown. Raises NoCapacityError where another place may help, BakehouseError for any other
    failure.
    """
    program = shutil.which("packer")
    if program is None:
        raise BakehouseError(
            "packer is not installed", "apt-get install --no-install-recommends packer"
        )
    lines: list[str] = []
    file = at / folder.VARIABLES
    known = json.loads(file.read_text(encoding="utf-8"))
    file.chmod(0o600)
    file.write_text(json.dumps({**known, **variables}), encoding="utf-8")
    own = {"CHECKPOINT_DISABLE": "1", "PACKER_CACHE_DIR": str(at / "cache"), **(env or {})}

    def take(line: str) -> None:
        shown = masked(line, secrets)
        lines.append(shown)
        say(shown)

    with _environment(own), _listening(take) as end:
        code, _, _ = PackerExecutable(program, config={"stdout": end, "stderr": end}).build(
            str(at / template),
            only=builder,
            color="false",
            var_file=str(file),
        )
    if code != 0:
        raise failure(builder, code, lines)


def failure(builder: str, code: int, lines: Sequence[str]) -> BakehouseError:
    """The error that a failed build's lines amount to."""
    tail = "\n".join(lines[-TAIL:])
    errors = "\n".join(line for line in lines if line.startswith("error: ")) or tail
    for cause in CAUSES:
        if cause.found.search(errors):
            kind = NoCapacityError if cause.elsewhere else BakehouseError
            return kind(f"packer build {builder}: {cause.why}\n{tail}", cause.hint)
    return BakehouseError(
        f"packer build {builder}: exit code {code}\n{tail}", "the lines above are Packer's own"
    )


def told(line: str) -> Iterator[str]:
    """The lines for a person in one of `-machine-readable`; an error's begin with `error: `.

    Its fields are time, target, type and data, where commas and line ends are escaped (Packer
    documentation, "Machine-Readable Output").
    """
    fields = line.rstrip("\n").split(",", 4)
    if len(fields) < 3 or not fields[0].isdecimal():
        if line.strip():
            yield line.rstrip("\n")
        return
    if len(fields) < 5 or fields[2] != "ui":
        return
    level, text = fields[3:]
    plain = text.replace("%!(PACKER_COMMA)", ",").replace("\\r", "").replace("\\n", "\n")
    for part in plain.splitlines():
        if part.strip():
            yield f"error: {part.strip()}" if level == "error" else part.strip()


@contextmanager
def _listening(take: Callable[[str], None]) -> Iterator[int]:
    """A pipe's end to write to, whose lines are taken until every writer has closed it.

    Also when we are interrupted: Packer gets the same signal and deletes what it made, which
    takes a while.
    """
    reading, writing = os.pipe()

    def read() -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                for part in told(line):
                    take(part)

    listener = threading.Thread(target=read)
    listener.start()
    try:
        yield writing
    finally:
        os.close(writing)
        listener.join()


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """Variables that the process started meanwhile gets: packer.py passes none of its own."""
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            with suppress(KeyError):
                del os.environ[name]
            if value is not None:
                os.environ[name] = value
