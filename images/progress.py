"""What long work says while it goes on: stages with their time, and the last line within one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

SHOWN: Final = 100
"""Characters of a line of output that a terminal gets to see."""


@dataclass(slots=True)
class Progress:
    """Writes to standard error: a live line on a terminal, a plain line for each stage elsewhere.

    `seconds` holds each finished stage's time, in order.
    """

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    seconds: dict[str, float] = field(default_factory=dict)
    _bar: Bar | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A named piece of work; stages do not nest."""
        started = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        if not self.console.is_terminal:
            self.note(f"{name} ...")
        self._bar = Bar(
            *columns,
            TextColumn("[dim]{task.fields[line]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        ended = "stopped after "
        try:
            with self._bar:
                self._bar.add_task(name, total=None, line="")
                yield
            ended = ""
        finally:
            self._bar = None
            self.seconds[name] = time.monotonic() - started
            self.note(f"{name}: {ended}{self.seconds[name]:.1f} s")

    def say(self, line: str) -> None:
        """What happens right now; on a terminal it takes the place of the line before."""
        if self._bar is not None and self._bar.task_ids:
            self._bar.update(self._bar.task_ids[0], line=escape(line[:SHOWN]))

    def note(self, line: str) -> None:
        """A line that stays."""
        self.console.print(escape(line), soft_wrap=True)
