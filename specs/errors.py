"""What goes wrong, as data: a message, a hint, and where in which file.

Nothing below the verbs exits the process or prints; it raises one of these, and `images.calls`
tells it.
"""

from __future__ import annotations

from dataclasses import dataclass


def printable(text: str) -> str:
    """`text` with escapes for what would move a terminal's cursor or cannot be encoded."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a spec file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a spec: where, at which key path, what, and what to do."""

    place: Place
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        head = (
            f"{self.place}: {self.path}: {self.message}"
            if self.path
            else (f"{self.place}: {self.message}")
        )
        return printable(f"{head}; {self.hint}" if self.hint else head)

    def as_data(self) -> dict[str, str | int]:
        """The same as plain data, for `--json`."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
        }


class BakehouseError(Exception):
    """A failure that a person can act on. `exit_code` is what the process ends with."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class UsageError(BakehouseError):
    """The call is wrong: an unknown option, a file that is not there."""

    exit_code = 2


class SpecError(BakehouseError):
    """The spec is wrong. Carries every problem found, sorted by file and line."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.place, p.path, p.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
