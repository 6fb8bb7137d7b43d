"""The one door to other processes: runs commands, logs them, keeps their output for the error.

Nothing else in Bakehouse imports `subprocess` (a test keeps it so). Builders elsewhere return the
command as a list of words; this module runs it, with secrets masked wherever it is shown.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from specs.errors import BakehouseError

log: Final = logging.getLogger("bakehouse.run")
TAIL: Final = 30
"""Lines of output that an error shows."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished command left: its exit code, and its output as text."""

    code: int
    stdout: str
    stderr: str


class CommandError(BakehouseError):
    """A command failed, was not found or took too long. `result` is None when it never ended."""

    def __init__(
        self, shown: str, why: str, output: str = "", result: Result | None = None
    ) -> None:
        tail = "\n".join(output.rstrip().splitlines()[-TAIL:])
        super().__init__(f"{shown}: {why}" + (f"\n{tail}" if tail else ""))
        self.result = result


class TimedOutError(CommandError):
    """A command took too long and was ended."""


def show(argv: Sequence[str], secrets: Sequence[str] = ()) -> str:
    """The command as a person would type it, each secret replaced by asterisks."""
    return masked(shlex.join(argv), secrets)


def masked(text: str, secrets: Sequence[str]) -> str:
    """`text` with each secret replaced by asterisks."""
    for secret in secrets:
        text = text.replace(secret, "****")
    return text


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    """The caller's environment with a fixed locale, overlaid by `env`."""
    return {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
    secrets: Sequence[str] = (),
    on_line: Callable[[str], None] | None = None,
) -> Result:
    """Run a command to its end and return its output, as it is; `secrets` are masked in errors.

    With `on_line`, standard error joins standard output and each line is passed on as it comes;
    there is no `stdin` and no `timeout` then.
    Raises TimedOutError when it exceeds `timeout` seconds, CommandError when it cannot start or
    (with `check`) exits with anything but 0.
    """
    shown = show(argv, secrets)
    log.debug("run: %s", shown)
    try:
        if on_line is not None:
            result = _streamed(argv, on_line, env, cwd)
        else:
            done = subprocess.run(
                list(argv),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=_environment(env),
                cwd=cwd,
                timeout=timeout,
                check=False,
            )
            result = Result(done.returncode, done.stdout, done.stderr)
    except FileNotFoundError as error:
        raise CommandError(shown, f"{error.filename} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise TimedOutError(shown, f"no end after {timeout:g} s") from error
    if check and result.code != 0:
        why = f"exit code {result.code}"
        if result.code < 0:
            why = f"ended by {signal.Signals(-result.code).name}"
        output = masked(result.stdout + result.stderr, secrets)
        raise CommandError(shown, why, output, result)
    return result


def _streamed(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None,
    cwd: Path | None,
) -> Result:
    lines: list[str] = []
    with subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=_environment(env),
        cwd=cwd,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            on_line(line.rstrip("\n"))
    return Result(process.returncode, "".join(lines), "")


@dataclass(slots=True)
class Process:
    """A command that goes on while we do: a booted machine, a forwarder."""

    popen: subprocess.Popen[bytes]
    shown: str

    @property
    def pid(self) -> int:
        """The process id; also the id of its process group."""
        return self.popen.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def wait(self) -> int:
        """Wait until it ends, and return its exit code."""
        return self.popen.wait()

    def stop(self, how: signal.Signals = signal.SIGTERM, patience: float = 20) -> int:
        """Ask it to end, insist after `patience` seconds, and return its exit code."""
        if self.alive():
            self.popen.send_signal(how)
        try:
            return self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            return self.popen.wait()


def start(
    argv: Sequence[str],
    *,
    output: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Process:
    """Start a command in its own process group, its output appended to the file `output`."""
    shown = show(argv)
    log.debug("start: %s", shown)
    handle: IO[Any]
    with output.open("ab") as handle:
        try:
            popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                env=_environment(env),
                cwd=cwd,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise CommandError(shown, f"{error.filename} is not installed") from error
    return Process(popen, shown)


def interact(argv: Sequence[str]) -> int:
    """Run a command on the person's own terminal and return its exit code."""
    log.debug("interact: %s", show(argv))
    return subprocess.call(list(argv))


def require_root(what: str) -> None:
    """Raises BakehouseError, with the command to use instead, unless we are root."""
    if os.geteuid() != 0:
        raise BakehouseError(f"{what} needs root", "run it with sudo, or as root")
