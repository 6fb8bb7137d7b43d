"""One session's connections to this server's own Postgres and pooler."""

from __future__ import annotations

from . import wire


class Session:
    """Connections that are opened when they are first needed, and then stay."""

    def __init__(self) -> None:
        self._postgres: wire.Wire | None = None
        self._console: wire.Wire | None = None

    def postgres(self) -> wire.Wire:
        """This server's Postgres."""
        self._postgres = self._postgres or wire.postgres()
        return self._postgres

    def console(self) -> wire.Wire:
        """The pooler's console."""
        self._console = self._console or wire.pooler()
        return self._console

    def hang_up(self) -> None:
        """Forget both connections: after a failure nobody knows what they will say next."""
        for connection in (self._postgres, self._console):
            if connection:
                connection.close()
        self._postgres = self._console = None
