"""What a swap did and when, a JSON line each: for people and for the operator, never for decisions.

Times are twice in a line: `at` on the wall's clock, `mono` on the one that nobody corrects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from . import state

FILE: Final = state.LIB / "swap.jsonl"


@dataclass(frozen=True, slots=True)
class Journal:
    """Of one epoch, appended to the file of all."""

    epoch: int
    path: Path = FILE

    def write(self, step: str, what: str, **more: object) -> None:
        """Append a line; a full disk is no reason to stop."""
        line = {
            "at": round(time.time(), 3),
            "mono": round(time.monotonic(), 4),
            "epoch": self.epoch,
            "step": step,
            "what": what,
            **more,
        }
        with suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """This epoch's lines so far; one that a crash cut off is left out."""
        return [line for line in read(self.path) if line.get("epoch") == self.epoch]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line of a journal."""
    if not path.exists():
        return
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def took(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each step that was done and the seconds it took, the last time it was."""
    steps: dict[str, float] = {}
    for line in lines:
        if line["what"] == "done":
            steps[line["step"]] = line.get("seconds", 0.0)
    return [{"step": step, "seconds": seconds} for step, seconds in steps.items()]


def between(lines: list[dict[str, Any]], first: str, last: str) -> float | None:
    """Seconds from the first begin of one step to the end of another; None when not both were."""
    begins = [line["mono"] for line in lines if (line["step"], line["what"]) == (first, "begin")]
    ends = [line["mono"] for line in lines if (line["step"], line["what"]) == (last, "done")]
    if not begins or not ends or ends[0] < begins[0]:
        return None
    return round(float(ends[0] - begins[0]), 4)
