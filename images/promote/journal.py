"""What runs did, one line of JSON each, at `<home>/history/<spec>.jsonl`: a hint for the next run
and the story for a person. Probes are the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from images.home import Home


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one spec."""

    path: Path

    def write(self, epoch: int, event: str, **facts: Any) -> None:
        """Add a line and make it durable. `facts` must be plain data, and no secret."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": now, "epoch": epoch, "event": event, **facts})
        with self.path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                torn = file.read(1) != b"\n"  # the line that a crash cut short stays its own
                line = "\n" + line if torn else line
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> Iterator[dict[str, Any]]:
        """All lines, oldest first, without those that a crash cut short."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and {"time", "epoch", "event"} <= entry.keys():
                yield entry


def journal(home: Home, spec: str) -> Journal:
    """The journal of a spec in this home."""
    return Journal(home.root / "history" / f"{spec}.jsonl")


def told(entry: dict[str, Any]) -> str:
    """An entry as a person reads it."""
    rest = {k: v for k, v in entry.items() if k not in ("time", "epoch", "event", "step", "name")}
    step = f"step {entry['step']:>2} {entry.get('name', '')}: " if "step" in entry else ""
    words = "; ".join(
        str(value) if key == "said" else f"{key} {value}" for key, value in rest.items()
    )
    return f"{entry['time']}  epoch {entry['epoch']}  {step}{entry['event']}" + (
        f" ({words})" if words else ""
    )
