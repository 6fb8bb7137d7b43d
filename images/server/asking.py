"""Green's line to blue's hand: one SSH session for the whole swap, a JSON line each way.

Nothing has to start inside the pause. A line that is lost is opened again by the next question.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from typing import Any, Final

from .state import ProgramError
from .sync import CONFIG

LIMIT: Final = 15.0
"""Seconds that an answer may take, unless the question itself takes longer."""


class LostError(ProgramError):
    """The other server did not answer: what was asked may have happened or not."""


class RefusedError(ProgramError):
    """The other server said no."""


def command() -> list[str]:
    """SSH to the peer; its forced command is the hand."""
    return ["ssh", "-F", CONFIG, "-oControlMaster=no", "-oControlPath=none", "-T", "peer"]


class UnknownError(RefusedError):
    """The other server's version does not know this question."""


UNKNOWN: Final = "no such verb"
"""How every version's hand begins its answer to a question that it does not know."""


class Line:
    """Questions to the hand in one epoch, one after another."""

    def __init__(self, epoch: int, argv: Sequence[str] = ()) -> None:
        self.epoch = epoch
        self.argv = list(argv or command())
        self.process: subprocess.Popen[bytes] | None = None
        self.rest = b""

    def ask(self, do: str, limit: float = LIMIT, **words: object) -> dict[str, Any]:
        """The hand's answer. Raises LostError after `limit` seconds, RefusedError for a no."""
        process = self.process or self._open()
        question = json.dumps({"do": do, "epoch": self.epoch, **words}).encode() + b"\n"
        try:
            assert process.stdin is not None
            process.stdin.write(question)
            process.stdin.flush()
            answer = json.loads(self._line(process, time.monotonic() + limit))
        except (OSError, ValueError) as error:
            self.close()
            raise LostError(f"{do}: no answer from the peer ({error})") from error
        if isinstance(answer, dict) and str(answer.get("error", "")).startswith(UNKNOWN):
            raise UnknownError(f"{do}: the peer's version does not know this question")
        if not isinstance(answer, dict) or answer.get("ok") is not True:
            raise RefusedError(f"{do}: the peer refused: {answer}")
        return answer

    def ask_if_known(self, do: str, limit: float = LIMIT, **words: object) -> dict[str, Any] | None:
        """The same, for what the swap can do without; None when the other version has no such."""
        try:
            return self.ask(do, limit, **words)
        except UnknownError:
            return None

    def _open(self) -> subprocess.Popen[bytes]:
        self.rest = b""
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        return self.process

    def _line(self, process: subprocess.Popen[bytes], end: float) -> bytes:
        """The next line. Raises OSError when none comes until `end`."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.rest:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError("too late")
                piece = os.read(process.stdout.fileno(), 65536)
                if not piece:
                    raise ConnectionError(f"the connection ended with {process.wait()}")
                self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def close(self) -> None:
        """End the connection; the next question opens another."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
