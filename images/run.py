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
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Final

from specs.errors import BakehouseError

log: Final = logging.getLogger("bakehouse.run")
TAIL: Final = 30
"""Lines of output that an error shows."""


Feed = Callable[[IO[bytes]], None]
"""Writes what a command reads, while it reads it."""


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
    stdin: str | Feed | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
    secrets: Sequence[str] = (),
    on_line: Callable[[str], None] | None = None,
) -> Result:
    """Run a command to its end and return its output, as it is; `secrets` are masked in errors.

    With `on_line`, or a function for `stdin`, standard error joins standard output; each line is
    passed on to `on_line` as it comes, and text for `stdin` is not possible.
    Raises TimedOutError when it exceeds `timeout` seconds, CommandError when it cannot start or
    (with `check`) exits with anything but 0.
    """
    shown = show(argv, secrets)
    log.debug("run: %s", shown)
    try:
        if on_line is not None or callable(stdin):
            feed = stdin if callable(stdin) else None
            say = on_line or log.debug
            result = _streamed(argv, say, feed=feed, env=env, cwd=cwd, timeout=timeout)
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
        if error.filename is None or str(error.filename) not in (argv[0], str(cwd)):
            raise  # it is one of `stdin`'s or `on_line`'s own
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
    *,
    feed: Feed | None,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    timeout: float | None,
) -> Result:
    """Pass lines on as they come. What exceeds `timeout` is ended with all that it started."""
    lines: list[str] = []
    with (
        ThreadPoolExecutor(1) as feeder,
        subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(env),
            cwd=cwd,
            process_group=None if timeout is None else 0,
        ) as process,
    ):
        assert process.stdout is not None
        late = threading.Event()
        fed = feeder.submit(_feed, process, feed)
        output = TextIOWrapper(process.stdout, encoding="utf-8", errors="replace")
        with _alarm(timeout, partial(_end, process, late)):
            for line in output:
                lines.append(line)
                on_line(line.rstrip("\n"))
            process.wait()
        fed.result()
    if late.is_set():
        raise subprocess.TimeoutExpired(list(argv), timeout or 0, "".join(lines))
    return Result(process.returncode, "".join(lines), "")


def _feed(process: subprocess.Popen[bytes], feed: Feed | None) -> None:
    """A command that stops reading has had enough; whether that was right, its exit code says."""
    if feed and process.stdin:
        with suppress(BrokenPipeError), process.stdin:
            feed(process.stdin)


@contextmanager
def _alarm(seconds: float | None, ring: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(seconds or 0, ring)
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


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
