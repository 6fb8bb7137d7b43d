"""What one session of the hand keeps from question to question."""

from __future__ import annotations

from . import holding, wire
from .holding import Pair


class Session:
    """Connections to this server's own Postgres and pooler, opened when they are first needed; and
    the requests that the looks at them found."""

    def __init__(self) -> None:
        self._postgres: wire.Wire | None = None
        self._console: wire.Wire | None = None
        self._slow: frozenset[Pair] | None = None
        self._old: frozenset[Pair] | None = None

    @property
    def slow(self) -> frozenset[Pair]:
        """Requests that the first look found: what of them runs still is a slow transfer."""
        if self._slow is None:
            self._slow = frozenset(holding.running())
        return self._slow

    @property
    def old(self) -> frozenset[Pair]:
        """Requests that the last look before the hold found: none of them is about to end."""
        return self.slow if self._old is None else self._old

    def look_again(self) -> None:
        """A later look than the first."""
        self._old = frozenset(holding.running())

    def requests(self) -> dict[str, int]:
        """How many are `running`, and how many of these began after the first look (`soon`: not
        long ago) and after the last one (`young`: they may be waited for)."""
        slow, old, now = self.slow, self.old, holding.running()
        return {"running": len(now), "soon": len(now - slow), "young": len(now - old)}

    def postgres(self) -> wire.Wire:
        """This server's Postgres."""
        self._postgres = self._postgres or wire.postgres()
        return self._postgres

    def console(self) -> wire.Wire:
        """The pooler's console."""
        self._console = self._console or wire.pooler()
        return self._console

    def postgres_ended(self) -> None:
        """Postgres was stopped: whatever is asked of it next needs a new connection."""
        if self._postgres:
            self._postgres.close()
        self._postgres = None

    def hang_up(self) -> None:
        """Forget both connections: after a failure nobody knows what they will say next."""
        for connection in (self._postgres, self._console):
            if connection:
                connection.close()
        self._postgres = self._console = None
