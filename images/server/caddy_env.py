#!/usr/bin/python3
"""Writes the role's part of Caddy's configuration as an environment file, at each start and reload.

Only the primary asks a certificate authority: a throwaway copy or a standby would fail its
challenges, since the name leads elsewhere, and use up the limits of the real one.
"""

from pathlib import Path
from typing import Final

from . import state

OUT: Final = Path("/run/caddy/role.env")


def environment(role: str, generation: int) -> str:
    """The file's text."""
    ours = "" if role == "primary" else "local_certs"
    return f"BAKEHOUSE_CADDY_GLOBAL={ours}\nBAKEHOUSE_GENERATION={generation}\n"


def main() -> None:
    """Write what boot.json says."""
    boot = state.boot()
    temporary = OUT.with_suffix(".new")
    temporary.write_text(environment(boot["role"], boot["generation"]))
    temporary.rename(OUT)


if __name__ == "__main__":
    state.run_program(main)
