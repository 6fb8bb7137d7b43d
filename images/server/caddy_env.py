#!/usr/bin/python3
"""Writes the role's part of Caddy's configuration as an environment file, at each start and reload.

Only the primary asks a certificate authority: a throwaway copy or a standby would fail its
challenges, since the name leads elsewhere, and use up the limits of the real one.
"""

from pathlib import Path
from typing import Final

from . import pooling, state

OUT: Final = Path("/run/caddy/role.env")


def environment(role: str, generation: int) -> str:
    """The file's text."""
    ours = "" if role == "primary" else "local_certs"
    return f"BAKEHOUSE_CADDY_GLOBAL={ours}\nBAKEHOUSE_GENERATION={generation}\n"


def role() -> str:
    """The role in Caddy's eyes: one that handed over still answers for its sites, by the same
    certificates, until the address has moved and clients are gone."""
    recorded = state.recorded()
    if not recorded:
        return str(state.boot()["role"])
    gone = recorded == "following" and pooling.users_gone()
    return "standby" if gone or recorded in ("standby", "claimed", "gave-up") else "primary"


def main() -> None:
    """Write what this server is."""
    temporary = OUT.with_suffix(".new")
    temporary.write_text(environment(role(), state.boot()["generation"]))
    temporary.rename(OUT)


if __name__ == "__main__":
    state.run_program(main)
