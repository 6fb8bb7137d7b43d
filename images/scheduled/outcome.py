"""How a scheduled run ended: for a person, for a script, and for whoever is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from images.scheduled.notices import Notice
from specs.model import Event

End = Literal["nothing-to-do", "planned", "staged", "promoted", "refused", "rolled-back", "failed"]

EXIT: Final[dict[End, int]] = {
    "nothing-to-do": 0,
    "planned": 0,
    "staged": 0,
    "promoted": 0,
    "failed": 1,
    "refused": 3,
    "rolled-back": 4,
}
"""A run that failed by a wrong spec or call ends with `WRONG`, as every verb does."""

WRONG: Final = 2

SHOWN: Final = 8
"""Changed packages that a message names."""

CLOSED: Final = 12
"""Advisories that a message names: a new kernel closes thousands."""


@dataclass(slots=True)
class Outcome:
    """The end of one run. `generation` and `image` are those that it was about; `serves` is the
    generation that serves now, 0 when none does. `seconds` has the time of each stage, `pause` is
    how long writes paused, `freed` bytes that gc freed. `wrong` says that it failed by the spec or
    the call.
    """

    spec: str
    end: End
    generation: int = 0
    image: str = ""
    serves: int = 0
    why: str = ""
    hint: str = ""
    changes: tuple[str, ...] = ()
    fixes: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    pause: float | None = None
    alarm: str = ""
    freed: int = 0
    notices: tuple[Notice, ...] = ()
    quiet: bool = False
    wrong: bool = False

    @property
    def exit_code(self) -> int:
        """0 when all is well, see `EXIT`."""
        return WRONG if self.wrong else EXIT[self.end]

    def cves(self) -> list[str]:
        """The advisories that the run's image closes."""
        return sorted({cve for ids in self.fixes.values() for cve in ids})

    def event(self, wanted: tuple[Event, ...]) -> Event | None:
        """The event under which it is told, or None when there is nothing to tell: of an alarm
        even when nobody wants the end itself told."""
        if self.quiet or self.end == "planned":
            return None
        if self.end in wanted or not self.alarm:
            return self.end
        return "alarm"

    def facts(self) -> dict[str, Any]:
        """For the journal: only what says something."""
        found = {
            "generation": self.generation,
            "image": self.image,
            "serves": self.serves,
            "why": self.why,
            "alarm": self.alarm,
            "changes": list(self.changes),
            "fixes": self.fixes,
            "seconds": {name: round(took, 2) for name, took in self.seconds.items()},
            "freed": self.freed,
            "notices": [notice.as_data() for notice in self.notices],
            "quiet": self.quiet,
        }
        pause = {} if self.pause is None else {"pause": self.pause}
        return {key: value for key, value in found.items() if value} | pause

    def as_data(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.exit_code == 0,
            "outcome": self.end,
            "spec": self.spec,
            "generation": self.generation,
            "image": self.image,
            "serves": self.serves,
            "error": self.why,
            "hint": self.hint,
            "changes": list(self.changes),
            "fixes": self.fixes,
            "write_pause_seconds": self.pause,
            "seconds": {name: round(took, 2) for name, took in self.seconds.items()},
            "alarm": self.alarm,
            "notices": [notice.as_data() for notice in self.notices],
            "freed": self.freed,
        }

    def headline(self) -> str:
        """What a person needs, in one line."""
        what = {
            "nothing-to-do": "nothing to do",
            "planned": f"would bake {self.image}",
            "staged": f"generation {self.generation} waits for you: `invoke promote`",
            "promoted": f"generation {self.generation} serves",
            "refused": "the update was refused; "
            + (f"generation {self.serves} serves on" if self.serves else "nothing was changed"),
            "rolled-back": f"generation {self.generation} was bad in use; "
            f"generation {self.serves} serves again",
            "failed": "THE RUN FAILED; "
            + (f"generation {self.serves} serves on" if self.serves else "nothing was changed"),
        }[self.end]
        fixed = len(self.cves()) if self.end in ("staged", "promoted") else 0
        closes = f", closes {fixed} {'advisory' if fixed == 1 else 'advisories'}" if fixed else ""
        alarm = f"; ALARM: {self.alarm}" if self.alarm else ""
        return f"{self.spec}: {what}{closes}{alarm}"

    def lines(self) -> list[str]:
        """The whole message: the headline, the reason, and what changed."""
        found = [self.headline()]
        found += [line for line in (self.why, self.hint) if line]
        found += self.changes[:SHOWN]
        if len(self.changes) > SHOWN:
            found.append(f"and {len(self.changes) - SHOWN} more changes")
        closed = self.cves()
        if closed:
            more = f" and {len(closed) - CLOSED} more" if len(closed) > CLOSED else ""
            found.append(f"closes {', '.join(closed[:CLOSED])}{more}")
        return found
