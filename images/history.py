"""What was done with a spec, one line of JSON each, at `<home>/history/<spec>.jsonl`.

A deed (`DEEDS`) is one line, written when it has ended, whichever way. The steps of a swap are
lines of their own, with the epoch that they belong to: a hint for the next run, and the story for
a person. Probes are the truth.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from images.home import Home
from specs.errors import BakehouseError

Deed = Literal["build", "verify", "promote", "rollback", "rebuild", "gc", "pin"]
DEEDS: Final = ("build", "verify", "promote", "rollback", "rebuild", "gc", "pin")

KEPT: Final = 400 * 86_400
"""Seconds after which a line may go (`invoke gc`): a year, and a month to look back from."""


SHOWN: Final = 12
"""Advisories of one package that a person is shown: a new kernel closes thousands."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one spec."""

    path: Path

    def write(self, epoch: int, event: str, *, durable: bool = True, **facts: Any) -> None:
        """Add a step of a swap. `facts` must be plain data, and no secret.

        What somebody else has recorded as well need not be `durable`.
        """
        self._append({"time": stamp(), "epoch": epoch, "event": event, **facts}, durable=durable)

    def record(self, deed: Deed, outcome: str, **facts: Any) -> None:
        """Add a deed. `facts` must be plain data, and no secret."""
        self._append({"time": stamp(), "event": deed, "outcome": outcome, **facts})

    @contextmanager
    def recorded(self, deed: Deed, **facts: Any) -> Iterator[dict[str, Any]]:
        """A deed around a block, which adds its facts; `outcome` is `done` unless it says another.

        What the block raises is recorded as `failed`, with the reason, and goes on.
        """
        found: dict[str, Any] = {"outcome": "done", **facts}
        started = time.monotonic()
        try:
            yield found
        except BaseException as error:
            why = error.message if isinstance(error, BakehouseError) else type(error).__name__
            found |= {"outcome": "failed", "why": why}
            raise
        finally:
            outcome = found.pop("outcome")
            self.record(deed, outcome, total=round(time.monotonic() - started, 1), **found)

    def entries(self) -> Iterator[dict[str, Any]]:
        """All lines, oldest first, without those that a crash cut short."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and {"time", "event"} <= entry.keys():
                yield entry

    def deeds(self) -> Iterator[dict[str, Any]]:
        """The deeds alone, oldest first."""
        return (entry for entry in self.entries() if entry["event"] in DEEDS)

    def steps(self) -> Iterator[dict[str, Any]]:
        """The steps of swaps alone, oldest first."""
        return (entry for entry in self.entries() if "epoch" in entry)

    def _append(self, entry: dict[str, Any], *, durable: bool = True) -> None:
        """Add a line, which a power failure does not take when it is `durable`; one that a crash
        cut short stays its own."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(entry)
        with self.path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                torn = file.read(1) != b"\n"
                line = "\n" + line if torn else line
            file.write(line.encode() + b"\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())


def journal(home: Home, spec: str) -> Journal:
    """The journal of a spec in this home."""
    return Journal(folder(home) / f"{spec}.jsonl")


def folder(home: Home) -> Path:
    """Where all journals are."""
    return home.root / "history"


def names(home: Home) -> list[str]:
    """The specs that have a journal, by name."""
    return sorted(file.stem for file in folder(home).glob("[!.]*.jsonl"))


def stamp() -> str:
    """The time in UTC, as lines show it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(entry: dict[str, Any]) -> str:
    """A step as a person reads it."""
    rest = {k: v for k, v in entry.items() if k not in ("time", "epoch", "event", "step", "name")}
    step = f"step {entry['step']:>2} {entry.get('name', '')}: " if "step" in entry else ""
    words = "; ".join(
        str(value) if key == "said" else f"{key} {value}" for key, value in rest.items()
    )
    return f"{entry['time']}  epoch {entry['epoch']}  {step}{entry['event']}" + (
        f" ({words})" if words else ""
    )


def deed_lines(entry: dict[str, Any], spec: str) -> Iterator[str]:
    """A deed as a person reads it: what, how it ended, how long it took; then why and what changed.

    Every deed uses the same few keys: `generation`, `image`, `why`, `changes` (lines), `fixes` (CVE
    ids by package), `seconds` (by stage), `total`, `pause` (seconds), `freed` (bytes), `notices`.
    """
    what = f" generation {entry['generation']}" if entry.get("generation") else ""
    took = f" in {entry['total']} s" if entry.get("total") else ""
    pause = entry.get("pause")
    paused = "" if pause is None else f", writes paused {pause:.3f} s"
    freed = f", freed {entry['freed'] / 1e6:.0f} MB" if entry.get("freed") else ""
    head = f"{entry['time'][:16].replace('T', ' ')}  {spec}: {entry['event']}{what}"
    yield f"{head}: {entry.get('outcome', '')}{took}{paused}{freed}"
    for key in ("why", "alarm"):
        if entry.get(key):
            yield from (f"    {line}" for line in str(entry[key]).splitlines()[:6])
    yield from (f"    {line}" for line in entry.get("changes", ()))
    for package, ids in sorted(entry.get("fixes", {}).items()):
        more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        yield f"    {package} fixes {', '.join(ids[:SHOWN])}{more}"
    if entry.get("seconds"):
        stages = (f"{name} {seconds:.1f} s" for name, seconds in entry["seconds"].items())
        yield f"    {', '.join(stages)}"
    for notice in entry.get("notices", ()):
        if not notice["delivered"]:
            yield f"    notice to {notice['to']} was not delivered: {notice['why']}"
