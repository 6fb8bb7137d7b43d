"""What `bench-promote` measured: for a terminal, as data, as `docs/benchmarks-promote.md`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """What is measured; times in seconds. `wrong` says which verb failed, if one did; `…_during`
    name the steps of the servers' own journal that ran meanwhile with their seconds, "" when none
    did."""

    failed: int
    cut: int
    lost: int
    doubled: int
    altered: int
    write_pause_median: float
    write_pauses: tuple[float, ...]
    longest_request: float
    promotes: int
    promote_seconds: tuple[float, ...]
    rollback_seconds: tuple[float, ...]
    database_bytes: int
    writes: int
    files: int
    rate: float
    counts: dict[str, Any]
    wrong: str = ""
    pauses_during: tuple[str, ...] = ()
    longest_kind: str = ""
    longest_during: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing failed; times are judged by who reads them."""
        return not any((self.failed, self.cut, self.lost, self.doubled, self.altered, self.wrong))

    def as_data(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self)

    def table(self) -> str:
        """For a terminal."""
        return "\n".join(["  ".join(row) for row in self.rows()] + [self.wrong] * bool(self.wrong))

    def rows(self) -> list[tuple[str, str, str]]:
        """Figure, measured, goal."""
        promotes, backs = self.promote_seconds, self.rollback_seconds
        size = f"{self.database_bytes / 1e9:.1f} GB of database"
        return [
            ("failed requests", f"{self.failed} of {self.counts['requests']}", "0"),
            (
                "acknowledged writes lost, doubled or altered",
                f"{self.lost} + {self.doubled} + {self.altered}"
                f" of {self.writes} entries and {self.files} files",
                "0",
            ),
            (
                f"write pause, median of {len(self.write_pauses)}",
                f"{self.write_pause_median:.2f} s"
                f" (longest {max(self.write_pauses, default=0):.2f} s)",
                "≤ 0.5 s",
            ),
            ("longest request", f"{self.longest_request:.2f} s", "≤ 1.0 s"),
            ("downloads, uploads, idle connections cut", str(self.cut), "0"),
            (f"whole promote, {size}", _times(promotes), "≤ 60 s"),
            ("whole rollback", _times(backs), "as promote"),
        ]


def _times(seconds: tuple[float, ...]) -> str:
    if not seconds:
        return "none"
    return f"{median(seconds):.1f} s (first {seconds[0]:.1f} s, longest {max(seconds):.1f} s)"


def page(figures: Figures, where: str, load: float, date: str) -> str:
    """`docs/benchmarks-promote.md`."""
    head = [("figure", "measured", "goal"), ("---", "---", "---")]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (*head, *figures.rows()))
    kinds = ", ".join(f"{count} {kind}" for kind, count in figures.counts["by_kind"].items())
    pauses = "; ".join(one or "none" for one in figures.pauses_during)
    wrong = f"\nThe run did not go to its end: {figures.wrong}\n" if figures.wrong else ""
    return f"""# Benchmarks: promote

Written by `./bootstrap invoke bench-promote` on {date}, at a load of {load:.1f} before it began:
{where}.

{table}
{wrong}
Both servers, the users and the network between them were on this one machine. Promote and rollback
took turns between two generations of `specs/hobby.yaml` with different packages; each began with
its image ready and ended with its lease given back, after a confirm time of 5 s and a drain time of
15 s. The first promote makes its server, the others find it as the standby.

The users came over the floating IP, IPv4 and IPv6 in turn, {figures.rate:.0f} requests a second
while promotes ran: {kinds}. By connection: {figures.counts["by_connection"]}.

- A request has failed when its answer was not whole and right, the first time; nothing is sent
  twice. A kept connection that the server closes in order while it is idle is replaced before the
  next request, which fails nothing (`closed` above).
- Cut counts slow downloads and uploads (10 s each, one of both always in flight in each family)
  that did not end whole, and idle connections that could not be used again after the move.
- Entries are written without an id of the user's, so one that was sent twice on its way would be
  there twice. What was acknowledged is held against Postgres and the disk in the end.
- The write pause is the longest gap between two acknowledged writes around a promote, as the users
  saw it. The servers' steps meanwhile: {pauses}.
- The longest request was a {figures.longest_kind}, meanwhile: {figures.longest_during or "none"}.
"""
